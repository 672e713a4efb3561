"""The organisations and users that KindLedger's applications know from the start."""

from typing import NamedTuple
from uuid import NAMESPACE_OID, UUID, uuid5

_NO_PASSWORD = "!"  # noqa: S105 - no hash of any password, so nobody logs in with it


class Organisation(NamedTuple):
    """A row of `organizations`."""

    id: UUID
    name: str
    type: str
    msp_id: str


class User(NamedTuple):
    """A row of `users`."""

    id: UUID
    username: str
    email: str
    full_name: str
    role: str
    organization_id: UUID | None
    msp_id: str | None
    password_hash: str = _NO_PASSWORD


def _organisation(name: str, kind: str, msp_id: str) -> Organisation:
    return Organisation(key(f"organisation/{msp_id}"), name, kind, msp_id)


def _user(
    username: str, full_name: str, role: str, organisation: Organisation | None = None
) -> User:
    member_of = (organisation.id, organisation.msp_id) if organisation else (None, None)
    return User(
        key(f"user/{username}"), username, f"{username}@example.com", full_name, role, *member_of
    )


def key(name: str) -> UUID:
    """The primary key of what `name` stands for, the same in every run."""
    return uuid5(NAMESPACE_OID, f"kindledger/{name}")


_CHARITY = _organisation("Quỹ Hy Vọng Vùng Cao", "CHARITY", "Org1MSP")
_BANK = _organisation("Ngân hàng Nhân Ái", "BANK", "Org2MSP")
_SUPPLIER = _organisation("Vật tư Trường Sơn", "SUPPLIER", "SupplierMSP")
_AUDITOR = _organisation("Kiểm toán Minh Bạch", "AUDITOR", "AuditorMSP")
ORGANISATIONS = (_CHARITY, _BANK, _SUPPLIER, _AUDITOR)

OWNERS = (
    _user("ha.le", "Lê Thu Hà", "CHARITY", _CHARITY),
    _user("huy.dang", "Đặng Đức Huy", "CHARITY", _CHARITY),
)
"""Who opens campaigns."""
DONORS = (
    _user("anh.nguyen", "Nguyễn Thị Ánh", "USER"),
    _user("binh.tran", "Trần Văn Bình", "USER"),
    _user("chau.pham", "Phạm Minh Châu", "USER"),
    _user("lan.vu", "Vũ Ngọc Lan", "USER"),
)
"""Who gives."""
USERS = (
    *OWNERS,
    *DONORS,
    _user("dung.hoang", "Hoàng Quốc Dũng", "ADMIN", _BANK),
    _user("ngan.bui", "Bùi Bảo Ngân", "SUPPLIER", _SUPPLIER),
    _user("phuc.do", "Đỗ Minh Phúc", "AUDITOR", _AUDITOR),
)
