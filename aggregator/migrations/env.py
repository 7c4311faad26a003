"""What Alembic runs, in the transaction of whoever upgrades: https://alembic.sqlalchemy.org/en/latest/tutorial.html"""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
