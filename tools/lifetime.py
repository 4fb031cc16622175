"""How long a certificate is still good for: the one judgement for all of them."""

from datetime import datetime, timedelta
from typing import Final

from cryptography import x509

from tools.finding import Finding, ok, problem, warning

SOON: Final = timedelta(days=14)


def check_lifetime(about: str, certificate: x509.Certificate, now: datetime, advice: str) -> Finding:
    """advice: how to renew it."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > ends or now < begins:
        return problem(about, f"it is valid from {begins:%Y-%m-%d} to {ends:%Y-%m-%d} only; {advice}")
    if ends - now < SOON:
        return warning(about, f"it ends on {ends:%Y-%m-%d}; {advice}, no restart is needed")
    return ok(about, f"it is valid until {ends:%Y-%m-%d}")
