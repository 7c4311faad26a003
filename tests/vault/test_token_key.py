"""The master key in a PKCS#11 token: SoftHSM's, in a folder of the test's own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from aggregator.config import TokenSettings
from aggregator.errors import OperatorError
from aggregator.vault.key_ring import KeyRing
from aggregator.vault.seal import header

PLACES = map(Path, ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so"))
MODULE = next((path for path in PLACES if path.exists()), None)
HEAD = header("unlocker", "a", name="password")
pytestmark = pytest.mark.skipif(MODULE is None, reason="SoftHSM is not installed: apt-get install softhsm2")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> TokenSettings:
    """One token for the module: the library reads its configuration once in a process."""
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder}/tokens\n")
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    command = ["softhsm2-util", "--init-token", "--free", "--label", "ring", "--so-pin", "12345678", "--pin", "1234"]
    subprocess.run(command, check=True, capture_output=True)
    pin = folder / "pin"
    pin.touch(mode=0o600)
    pin.write_text("1234\n")
    return TokenSettings(module=str(MODULE), token="ring", label="master", pin_file=str(pin))


def test_the_ring_lies_under_the_tokens_key_and_takes_a_new_one(settings: TokenSettings, tmp_path: Path) -> None:
    from aggregator.vault.token_key import TokenKey

    ring = KeyRing.create(tmp_path / "ring", None, TokenKey(settings))
    assert not (tmp_path / "ring" / "master.key").exists()
    ring.create_vault("a", bytes(32))
    box = ring.lock("a", HEAD, b"root")
    before = (tmp_path / "ring" / "ring.db").read_bytes()
    ring.rotate_master()
    ring.close()
    again = KeyRing(tmp_path / "ring", None, TokenKey(settings))
    assert again.unlock("a", HEAD, box) == b"root"
    again.close()
    (tmp_path / "ring" / "ring.db").write_bytes(before)
    with pytest.raises(OperatorError, match="the master key is not the one"):
        KeyRing(tmp_path / "ring", None, TokenKey(settings))


def test_the_key_never_leaves_the_token(settings: TokenSettings) -> None:
    from pkcs11 import Attribute
    from pkcs11.exceptions import AttributeSensitive

    from aggregator.vault.token_key import TokenKey

    master = TokenKey(settings)
    box = master.wrap(bytes(32))
    assert master.unwrap(box) == bytes(32)
    with pytest.raises(AttributeSensitive):
        _ = master._key(master._id)[Attribute.VALUE]


@pytest.mark.parametrize(
    ("wrong", "told"), [({"token": "other"}, "does not open"), ({"pin_file": "/no"}, "are needed")]
)
def test_a_wrong_setting_is_the_operators(settings: TokenSettings, wrong: dict[str, str], told: str) -> None:
    from aggregator.vault.token_key import TokenKey

    with pytest.raises(OperatorError, match=told):
        TokenKey(settings.model_copy(update=wrong))
