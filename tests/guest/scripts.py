"""What guests do with a disk."""

from typing import Final

FILL: Final = """
mke2fs -b 4096 /dev/vda >/dev/null
mount -t ext4 /dev/vda /mnt
i=0
while [ $i -lt 24 ]; do
  yes "line of file $i" | head -c 1000003 > /mnt/$i
  i=$((i + 1))
done
rm /mnt/3 /mnt/7
sync
fstrim /mnt
cd /mnt; sha256sum [0-9]* | sort -k 2 > /sums; cp /sums /mnt/sums; cd /
umount /mnt
echo SUMS $(sha256sum < /sums)
"""
"""Make a file system with files whose sums it keeps; delete some, trim."""

CHECK: Final = """
mount -t ext4 /dev/vda /mnt
cd /mnt; sha256sum -c sums >/dev/null
echo SUMS $(sha256sum < sums)
cd /; umount /mnt
"""
"""All files are as they were."""


def sums(console: str) -> str:
    """What identifies the files, of either script's console."""
    return next(line for line in console.splitlines() if line.startswith("SUMS "))
