"""What alembic calls: runs the revisions on the connection, inside the transaction, that Store.open gives."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], version_table="flyball_version")
context.run_migrations()
