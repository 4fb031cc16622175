"""The add-on's state: engine, transactions, threads, migrations. Tables are in their rooms' `models`."""
