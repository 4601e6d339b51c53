"""Keys for tests: made as the command line makes them, without its output."""

from sqlalchemy import select

from app.access import service
from app.access.schemas import KeyCreate
from app.kit.app_state import AppState
from app.kit.clock import now
from app.kit.db import unit_of_work
from app.kit.ids import new_id
from app.models import Tenant

SECRET = "a secret of the tests, long enough"


def new_key(state: AppState, tenant: str, *scopes: str, **changes) -> str:
    """A key of the tenant with this name, which is made if need be; changes are to its row."""
    wanted = KeyCreate.model_validate({"name": "test", "scopes": scopes or ("admin",)})
    row, token = service.new_key(state.settings, wanted)
    for name, value in changes.items():
        setattr(row, name, value)
    with unit_of_work(state.sessions) as session:
        row.tenant_id = tenant_id(session, tenant)
        session.add(row)
    return token


def tenant_id(session, name: str) -> str:
    found = session.scalar(select(Tenant).where(Tenant.name == name))
    if found is None:
        found = Tenant(id=new_id("tnt"), name=name, created_at=now())
        session.add(found)
        session.flush()
    return found.id


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
