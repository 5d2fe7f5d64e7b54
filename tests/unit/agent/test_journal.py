"""What the host remembers, also when its disk has lied."""

import hashlib
import hmac
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.agent.journal import DamagedError, Journal
from orchestrator.agent.paths import BadNameError, Paths
from orchestrator.protocol.instance import Config, InstanceConfig, SecretRef
from orchestrator.protocol.messages import ReleaseRecord

CONFIG = InstanceConfig(project="shop", service="api", image=f"sha256:{'a' * 64}")


@pytest.fixture
def journal(tmp_path):
    """An empty journal."""
    return Journal(Paths(tmp_path / "state"), "shop")


def test_a_release_comes_back_as_it_was(journal):
    """Record and configurations, oldest first by number."""
    first = ReleaseRecord("r9", 1.0, "me", "x", configs=(CONFIG,))
    second = ReleaseRecord("r10", 2.0, "me", "y")
    journal.commit(second)
    journal.commit(first)
    assert journal.releases() == (first, second)
    assert journal.instance(CONFIG.digest) == CONFIG


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b"null", b'{"id": 7}', b"\xff\xfe", b"[" * 100_000])
def test_garbage_is_reported_and_skipped(journal, garbage, capsys):
    """A damaged record is lost, the others are not."""
    good = ReleaseRecord("r1", 1.0, "me", "x")
    journal.commit(good)
    journal.files.release("r2").write_bytes(garbage)
    assert journal.releases() == (good,)
    assert "damaged" in capsys.readouterr().err


def test_a_record_under_another_name_is_not_believed(journal):
    """What was renamed by hand does not become another release."""
    journal.commit(ReleaseRecord("r1", 1.0, "me", "x"))
    journal.files.release("r1").rename(journal.files.release("r2"))
    assert journal.releases() == ()


def test_a_configuration_with_another_digest_is_not_believed(journal):
    """Contents are checked against their names."""
    journal.put_instance(CONFIG)
    other = replace(CONFIG, user="root")
    journal.files.instance(CONFIG.digest).rename(journal.files.instance(other.digest))
    assert journal.instance(other.digest) is None


def test_leftovers_of_crashed_writers_are_no_records(journal):
    """Temporary files are skipped."""
    journal.commit(ReleaseRecord("r1", 1.0, "me", "x"))
    (journal.files.releases / ".tmp-0000.json").write_bytes(b"{")
    assert [record.id for record in journal.releases()] == ["r1"]


def test_the_key_is_stable_and_differs_between_projects(journal, tmp_path):
    """Secrets of two projects cannot be compared, those of one can."""
    assert journal.key() == journal.key()
    assert journal.key() != Journal(Paths(tmp_path / "state"), "other").key()
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0


def test_a_damaged_key_is_made_anew(journal, tmp_path):
    """Every secret then looks changed, which heals itself."""
    before = journal.key()
    (tmp_path / "state" / "host-key").write_text("not hexadecimal")
    assert journal.key() != before
    assert len(bytes.fromhex(journal.key())) == 32


def test_secrets_are_checked_against_their_keyed_hash(journal):
    """What does not match is refused, without saying what it was."""
    keyed = hmac.new(bytes.fromhex(journal.key()), b"value", "sha256").hexdigest()
    journal.put_secret(keyed, b"value")
    assert journal.secret(keyed) == b"value"
    with pytest.raises(DamagedError) as refused:
        journal.put_secret(keyed, b"another")
    assert "another" not in str(refused.value).replace("another hash", "")
    journal.files.secret(keyed).write_bytes(b"tampered")
    assert journal.secret(keyed) is None
    assert journal.files.secret(keyed).stat().st_mode & 0o077 == 0


def test_configs_are_checked_against_their_digest(journal):
    """The same, for rendered files."""
    digest = hashlib.sha256(b"x").hexdigest()
    journal.put_config(digest, b"x")
    assert journal.config(digest) == b"x"
    with pytest.raises(DamagedError):
        journal.put_config(digest, b"y")


def test_collect_keeps_what_a_release_or_a_container_needs(journal):
    """And drops the rest, including what crashed writers left."""
    contents = {hashlib.sha256(data).hexdigest(): data for data in (b"kept", b"used", b"lost")}
    for digest, data in contents.items():
        journal.put_config(digest, data)
    kept, used, lost = (
        replace(CONFIG, configs=(Config("/a", digest),), user=data.decode())
        for digest, data in contents.items()
    )
    for config in (kept, used, lost):
        journal.put_instance(config)
    journal.commit(ReleaseRecord("r1", 1.0, "me", "x", configs=(kept,)))
    journal.put_fingerprint("1" * 64, "f" * 64)
    journal.put_fingerprint("2" * 64, "f" * 64)
    for name in ("shop-api-1-r1", "shop-api-1-r2"):
        (journal.files.mounts / name).mkdir(parents=True)
    (journal.files.configs / ".tmp-1").write_bytes(b"")
    journal.collect({"1" * 64: used.digest}, ["shop-api-1-r1"])
    assert [journal.config(digest) for digest in contents] == [b"kept", b"used", None]
    assert [journal.instance(c.digest) for c in (kept, used, lost)] == [kept, used, None]
    assert journal.fingerprint("1" * 64) == "f" * 64
    assert journal.fingerprint("2" * 64) is None
    assert [path.name for path in journal.files.mounts.iterdir()] == ["shop-api-1-r1"]
    assert not list(journal.files.configs.glob(".tmp-*"))


HOSTILE = st.one_of(
    st.text(max_size=80),
    st.sampled_from(["", ".", "..", "../../etc/passwd", "a/b", "a\0b", "a\n", "$(id)", "-rf", "r1\n", "r01"]),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(HOSTILE)
def test_no_name_leaves_its_folder(journal, name):
    """Whatever the name, the path is a child of the folder it is meant for, or there is none."""
    files = journal.files
    for make, folder in (
        (files.release, files.releases),
        (files.instance, files.instances),
        (files.fingerprint, files.fingerprints),
        (files.secret, files.secrets),
        (files.config, files.configs),
    ):
        try:
            path = make(name)
        except BadNameError:
            continue
        assert path.parent == folder
    try:
        project = Paths(files.base).project(name)
    except BadNameError:
        return
    assert project.base.parent == files.base / "projects"
    assert project.base.name not in ("", ".", "..")


def test_secret_refs_do_not_keep_other_secrets(journal):
    """Only the hash that a configuration names keeps a value."""
    key = bytes.fromhex(journal.key())
    one, two = (hmac.new(key, value, "sha256").hexdigest() for value in (b"one", b"two"))
    journal.put_secret(one, b"one")
    journal.put_secret(two, b"two")
    config = replace(CONFIG, secrets=(SecretRef("A", "/run/secrets/A", one),))
    journal.commit(ReleaseRecord("r1", 1.0, "me", "x", configs=(config,)))
    journal.collect({}, [])
    assert (journal.secret(one), journal.secret(two)) == (b"one", None)
