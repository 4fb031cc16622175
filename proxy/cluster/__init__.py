"""The ring of a running cluster: kept, followed, changed. Above the core, below the repair workers."""
