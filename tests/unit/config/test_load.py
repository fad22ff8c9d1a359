"""Finding and loading build.toml."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.config.load import find_config, load
from builder.core.errors import ConfigError
from builder.core.reference import Reference
from builder.core.settings.config import Config, inputs

MINIMAL = '[project]\nnamespace = "acme"\n'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("common", "openstack", "images/base", "files"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "keystone.yml").write_text("services: {}\n")
    return tmp_path.resolve()


def load_text(root: Path, text: str, *sets: str) -> Config:
    path = root / "build.toml"
    path.write_text(text)
    return load(path, sets)


# --- finding ------------------------------------------------------------------------------------


def test_the_file_in_the_current_folder_is_taken(root: Path) -> None:
    (root / "build.toml").touch()
    assert find_config(root, None) == root / "build.toml"


def test_else_that_of_the_nearest_parent(root: Path) -> None:
    (root / "build.toml").touch()
    (root / "images/build.toml").touch()
    assert find_config(root / "images/base", None) == root / "images/build.toml"
    assert find_config(root / "common", None) == root / "build.toml"


def test_a_folder_of_that_name_is_passed_by(root: Path) -> None:
    (root / "build.toml").touch()
    (root / "images/build.toml").mkdir()
    assert find_config(root / "images", None) == root / "build.toml"


def test_a_named_file_wins(root: Path) -> None:
    (root / "build.toml").touch()
    (root / "other.toml").touch()
    assert find_config(root, root / "other.toml") == root / "other.toml"


@pytest.mark.parametrize(
    ("explicit", "fact"), [("none.toml", "no such file"), ("common", "is a folder, not a file")]
)
def test_a_named_file_that_is_none_is_an_error(root: Path, explicit: str, fact: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find_config(root, root / explicit)
    assert f"{root / explicit}: {fact}" in str(caught.value)
    assert "ocbuild init" in (caught.value.hint or "")
    assert caught.value.exit_code == 2


def test_without_any_file_the_remedy_is_init(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no build\.toml in") as caught:
        find_config(tmp_path, None)
    assert "ocbuild init" in (caught.value.hint or "")


# --- values -------------------------------------------------------------------------------------


def test_only_the_namespace_is_needed(root: Path) -> None:
    config = load_text(root, MINIMAL)
    assert config.root == root
    assert config.path == root / "build.toml"
    assert (config.project.namespace, config.project.name) == ("acme", "acme")
    assert config.project.registry == "local"
    assert config.build.jobs is None
    assert config.build.timeout == 3600
    assert config.build.proxies
    assert config.publish.immutable
    assert config.deploy.hosts["local"].docker == "local"


def test_the_folder_is_known_when_the_file_is_named_by_a_relative_path(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "build.toml").write_text(MINIMAL)
    monkeypatch.chdir(root / "common")
    assert load(Path("../build.toml")).root == root


def test_without_groups_the_well_known_folders_that_exist_are_groups(root: Path) -> None:
    groups = load_text(root, MINIMAL).groups
    assert [(group.name, group.path) for group in groups.values()] == [
        ("common", root / "common"),
        ("openstack", root / "openstack"),
    ]


def test_an_empty_groups_table_is_as_good_as_none(root: Path) -> None:
    assert list(load_text(root, MINIMAL + "[groups]\n").groups) == ["common", "openstack"]


def test_without_groups_and_folders_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='none of the folders "common", "openstack", "contrail"'):
        load_text(tmp_path, MINIMAL)


def test_every_key_of_a_group_is_read(root: Path) -> None:
    config = load_text(
        root,
        MINIMAL
        + """
        [groups.web]
        path = "./images/"
        version = "1.0"
        commit = "e24cc66"
        tag = "{version}"
        also = ["{branch}"]
        exclude = ["**/old"]
        name = "web-{path}"
        args = { A = "", B = "2" }
        """,
    )
    group = config.groups["web"]
    assert group.name == "web"
    assert group.path == root / "images"
    assert (group.version, group.commit) == ("1.0", "e24cc66")
    assert (group.tag, group.also) == ("{version}", ("{branch}",))
    assert group.exclude == ("**/old",)
    assert group.naming == "web-{path}"
    assert group.args == {"A": "", "B": "2"}


def test_a_group_has_its_own_tag_rule_or_that_of_the_project_or_one_that_fits(root: Path) -> None:
    groups = '[groups.common]\nversion = "1"\ntag = "{version}"\n[groups.images]\nversion = "1"\n'
    groups += "[groups.openstack]\n"
    without = load_text(root, MINIMAL + groups).groups
    assert [group.tag for group in without.values()] == [
        "{version}",
        "{version}-{commit}",
        "{commit}",
    ]
    with_rule = load_text(root, MINIMAL + 'tag = "{date}"\n' + groups).groups
    assert [group.tag for group in with_rule.values()] == ["{version}", "{date}", "{date}"]


def test_every_key_of_an_image_is_read(root: Path) -> None:
    config = load_text(
        root,
        MINIMAL
        + """
        [images.nova-compute]
        args = { A = "1" }
        test = ["true", "nova --version"]
        timeout = "1h30m"
        optional = true
        dockerfile = "Dockerfile.x"
        context = ".."
        platforms = ["linux/arm/v7"]
        target = "runtime"
        [images.nova-compute.secrets]
        apt = { file = "~/.netrc" }
        token = { env = "TOKEN" }
        here = { file = "files/x" }
        """,
    )
    image = config.image("nova-compute")
    assert image.name == "nova-compute"
    assert image.args == {"A": "1"}
    assert image.test == ("true", "nova --version")
    assert image.timeout == 5400
    assert image.optional
    assert (image.dockerfile, image.context, image.target) == ("Dockerfile.x", "..", "runtime")
    assert image.platforms == ("linux/arm/v7",)
    assert image.secrets["apt"].file == Path.home() / ".netrc"
    assert image.secrets["token"].env == "TOKEN"
    assert image.secrets["here"].file == root / "files/x"


def test_an_image_without_a_section_has_the_defaults(root: Path) -> None:
    image = load_text(root, MINIMAL).image("nova-api")
    assert image.name == "nova-api"
    assert (image.dockerfile, image.context, image.timeout) == ("Dockerfile", ".", None)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [('"90s"', 90), ('"20m"', 1200), ('"1h30m"', 5400), ('"1h1m1s"', 3661), ("45", 45)],
)
def test_durations_are_read_as_seconds(root: Path, written: str, seconds: float) -> None:
    timeout = load_text(root, MINIMAL + f"[build]\ntimeout = {written}\n").build.timeout
    assert timeout == seconds
    assert isinstance(timeout, float)


def test_bases_are_found_however_their_reference_is_written(root: Path) -> None:
    config = load_text(
        root,
        MINIMAL
        + '[bases."debian:12"]\nmirror = "registry.example.com/debian:12"\n'
        + '[bases."quay.io/x/y:1"]\nbootstrap = { suite = "trixie", include = ["curl"] }\n',
    )
    found = config.base(Reference.parse("docker.io/library/debian:12"))
    assert found is not None
    assert (found.name, found.mirror) == ("debian:12", "registry.example.com/debian:12")
    other = config.base(Reference.parse("quay.io/x/y:1"))
    assert other is not None
    assert other.bootstrap is not None
    assert (other.bootstrap.variant, other.bootstrap.include) == ("minbase", ("curl",))
    assert config.base(Reference.parse("debian:13")) is None


def test_contexts_are_addresses_or_folders(root: Path) -> None:
    config = load_text(
        root,
        MINIMAL
        + '[contexts]\na = "docker-image://debian:12"\n"b:1" = "files"\nc = "git@x:y.git"\n',
    )
    assert config.contexts == {
        "a": "docker-image://debian:12",
        "b:1": str(root / "files"),
        "c": "git@x:y.git",
    }


def test_a_ca_bundle_is_that_of_the_host_or_a_file(root: Path) -> None:
    (root / "ca.pem").touch()
    text = MINIMAL + '[build]\nca-bundle = "{}"\n'
    assert load_text(root, text.format("host")).build.ca_bundle == "host"
    assert load_text(root, text.format("ca.pem")).build.ca_bundle == str(root / "ca.pem")


def test_a_stack_without_a_host_runs_on_the_only_one(root: Path) -> None:
    stack = '[deploy.stacks.keystone]\nfile = "keystone.yml"\n'
    assert load_text(root, MINIMAL + stack).deploy.stacks["keystone"].host == "local"
    named = load_text(root, MINIMAL + "[deploy.hosts.one]\n" + stack).deploy
    assert named.stacks["keystone"].host == "one"
    assert named.stacks["keystone"].file == root / "keystone.yml"


def test_inputs_are_the_folders_of_the_groups_the_file_and_its_lock(root: Path) -> None:
    config = load_text(root, MINIMAL)
    files = (root / "build.toml", root / "build.lock")
    assert inputs(config) == (root / "common", root / "openstack", *files)


def test_a_byte_order_mark_and_windows_line_endings_do_not_matter(root: Path) -> None:
    (root / "build.toml").write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    config = load(root / "build.toml")
    assert config.project.namespace == "acme"
    assert str(config.locate("project", "namespace")) == "build.toml:2"


# --- overrides ----------------------------------------------------------------------------------


def test_set_wins_over_the_file_and_adds_to_it(root: Path) -> None:
    config = load_text(
        root,
        MINIMAL + '[build]\njobs = 1\n[groups."x.y"]\npath = "images"\n',
        "build.jobs=4",
        "build.timeout=2m",
        "publish.immutable=false",
        'groups."x.y".version=3.10',
        "images.nova.args.DEBUG=1",
        "images.nova.args.QUOTED='a b'",
        "images.nova.test=['true']",
        "project.namespace=other",
    )
    assert (config.build.jobs, config.build.timeout) == (4, 120)
    assert not config.publish.immutable
    assert config.groups["x.y"].version == "3.10"
    assert config.images["nova"].args == {"DEBUG": "1", "QUOTED": "a b"}
    assert config.images["nova"].test == ("true",)
    assert config.project.namespace == "other"


# --- places -------------------------------------------------------------------------------------


def test_a_key_can_be_located(root: Path) -> None:
    config = load_text(
        root, MINIMAL + "[images.nova]\noptional = true\n[build]\n", "images.nova.timeout=3"
    )
    assert str(config.locate("images", "nova")) == "build.toml:3"
    assert str(config.locate("images", "nova", "optional")) == "build.toml:4"
    assert str(config.locate("images", "nova", "timeout")) == "--set images.nova.timeout=3"
    assert str(config.locate("images", "nova", "test")) == "build.toml:3"
    assert str(config.locate("farm")) == "build.toml"


def test_two_loads_of_one_file_are_equal(root: Path) -> None:
    assert load_text(root, MINIMAL) == load_text(root, MINIMAL + "# a comment\n")
