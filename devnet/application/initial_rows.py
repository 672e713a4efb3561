"""The organisations and users that the business application has from the start."""

from typing import NamedTuple
from uuid import UUID

from devnet.application.business_rows import primary_key

_NO_PASSWORD = "!"  # noqa: S105 - the hash of no password: nobody can log in with it


class Organisation(NamedTuple):
    """A row of the table `organizations`."""

    id: UUID
    name: str
    type: str
    msp_id: str


class User(NamedTuple):
    """A row of the table `users`."""

    id: UUID
    username: str
    email: str
    full_name: str
    role: str
    organization_id: UUID | None
    msp_id: str | None
    password_hash: str = _NO_PASSWORD


def _organisation(name: str, kind: str, msp_id: str) -> Organisation:
    return Organisation(primary_key(f"organisation/{msp_id}"), name, kind, msp_id)


def _user(
    username: str, full_name: str, role: str, organisation: Organisation | None = None
) -> User:
    organisation_id, msp_id = (
        (organisation.id, organisation.msp_id) if organisation else (None,) * 2
    )
    return User(
        id=primary_key(f"user/{username}"),
        username=username,
        email=f"{username}@example.com",
        full_name=full_name,
        role=role,
        organization_id=organisation_id,
        msp_id=msp_id,
    )


_CHARITY = _organisation("Quỹ Hy Vọng Vùng Cao", "CHARITY", "Org1MSP")
_BANK = _organisation("Ngân hàng Nhân Ái", "BANK", "Org2MSP")
_SUPPLIER = _organisation("Vật tư Trường Sơn", "SUPPLIER", "SupplierMSP")
_AUDITOR = _organisation("Kiểm toán Minh Bạch", "AUDITOR", "AuditorMSP")
ORGANISATIONS = (_CHARITY, _BANK, _SUPPLIER, _AUDITOR)

CAMPAIGN_OWNERS = (
    _user("ha.le", "Lê Thu Hà", "CHARITY", _CHARITY),
    _user("huy.dang", "Đặng Đức Huy", "CHARITY", _CHARITY),
)
DONORS = (
    _user("anh.nguyen", "Nguyễn Thị Ánh", "USER"),
    _user("binh.tran", "Trần Văn Bình", "USER"),
    _user("chau.pham", "Phạm Minh Châu", "USER"),
    _user("lan.vu", "Vũ Ngọc Lan", "USER"),
)
USERS = (
    *CAMPAIGN_OWNERS,
    *DONORS,
    _user("dung.hoang", "Hoàng Quốc Dũng", "ADMIN", _BANK),
    _user("ngan.bui", "Bùi Bảo Ngân", "SUPPLIER", _SUPPLIER),
    _user("phuc.do", "Đỗ Minh Phúc", "AUDITOR", _AUDITOR),
)
