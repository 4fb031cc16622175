"""The add-on's state: engine, transactions, threads, migrations. Tables are in the rooms' `models`."""
