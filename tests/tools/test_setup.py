# SPDX-License-Identifier: Apache-2.0
"""scripts/setup makes an environment once, makes it again when its ground changed, and says what it cannot install."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# A Python that notes what it is asked, and makes a virtual environment whose python is itself.
PYTHON = """#!/bin/sh
echo "$@" >> "$LOG"
case $* in
    *sys.version_info*) exit ${TOO_OLD:-0};;
    *sys.prefix*) echo "${VERSION:-3.11}";;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python";;
    -V) echo "Python 3.10.0";;
    *"pip install"*) exit ${PIP:-0};;
esac
"""


@pytest.fixture
def tree(tmp_path):
    """A tree with the script, its inputs, and stand-ins for what it runs."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup", tmp_path / "scripts")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "scripts" / "debian-packages").write_text("# tools\nfuse3\n\nfio  # to measure\n")
    (tmp_path / "bin").mkdir()
    return tmp_path


def stub(tree, name, text):
    path = tree / "bin" / name
    path.write_text(text)
    path.chmod(0o755)


def setup(tree, *arguments, **environment):
    (tree / "log").write_text("")
    done = subprocess.run(
        [tree / "scripts" / "setup", *arguments],
        env={"PATH": f"{tree / 'bin'}:{os.environ['PATH']}", "LOG": str(tree / "log"), **environment},
        capture_output=True,
        text=True,
        timeout=30,
    )
    return done, (tree / "log").read_text()


def was_made(log):
    return "-m venv" in log


def test_an_environment_is_made_once_and_again_when_its_ground_changes(tree):
    stub(tree, "fakepython", PYTHON)
    done, log = setup(tree, ".venv", "fakepython", "dev")
    assert done.returncode == 0, done.stderr
    assert was_made(log)
    assert "--editable .[dev]" in log
    assert not was_made(setup(tree, ".venv", "fakepython", "dev")[1])
    assert was_made(setup(tree, ".venv", "fakepython", "dev,bench")[1])
    assert was_made(setup(tree, ".venv", "fakepython", "dev,bench", VERSION="3.12")[1])
    (tree / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert was_made(setup(tree, ".venv", "fakepython", "dev,bench", VERSION="3.12")[1])


def test_an_environment_whose_installation_failed_is_made_again(tree):
    stub(tree, "fakepython", PYTHON)
    assert setup(tree, ".venv", "fakepython", "dev", PIP="1")[0].returncode != 0
    done, log = setup(tree, ".venv", "fakepython", "dev")
    assert done.returncode == 0
    assert was_made(log)


@pytest.mark.parametrize(
    ("python", "environment", "said"),
    [
        ("fakepython", {"TOO_OLD": "1"}, "Instar needs CPython 3.11 or newer"),
        ("nopython", {}, "no nopython here"),
    ],
)
def test_a_python_that_is_too_old_or_missing_is_refused_with_what_to_do(tree, python, environment, said):
    stub(tree, "fakepython", PYTHON)
    done, _ = setup(tree, ".venv", python, "dev", **environment)
    assert done.returncode == 1
    assert said in done.stderr
    assert not (tree / ".venv").exists()


INSTALLED = (
    '#!/bin/sh\nfor name; do :; done\ncase " $HAVE " in *" $name "*) printf \'ii \';; *) exit 1;; esac\n'
)


@pytest.mark.parametrize(
    ("user", "have", "asked", "said"),
    [
        ("0", "fuse3 fio", "", ""),
        (
            "0",
            "fuse3",
            "update -qq\ninstall -y -qq --no-install-recommends fio\n",
            "installing Debian packages: fio",
        ),
        ("1000", "", "", "not root, so not installed (what needs them is skipped): fuse3 fio"),
        ("1000", "fuse3 fio", "", ""),
    ],
)
def test_only_missing_packages_are_installed_and_only_by_root(tree, user, have, asked, said):
    stub(tree, "dpkg-query", INSTALLED)
    stub(tree, "apt-get", '#!/bin/sh\necho "$@" >> "$LOG"\n')
    stub(tree, "id", f"#!/bin/sh\necho {user}\n")
    done, log = setup(tree, "--packages", HAVE=have)
    assert done.returncode == 0
    assert log == asked
    assert done.stderr.removeprefix("setup: ").strip() == said


def test_a_package_that_cannot_be_installed_costs_only_itself(tree):
    stub(tree, "dpkg-query", INSTALLED)
    stub(tree, "apt-get", '#!/bin/sh\necho "$@" >> "$LOG"\ncase "$*" in *fio*) exit 100;; esac\n')
    stub(tree, "id", "#!/bin/sh\necho 0\n")
    done, log = setup(tree, "--packages", HAVE="")
    assert done.returncode == 0
    assert log.splitlines()[-2].endswith(" fuse3")
    assert "could not install fio" in done.stderr
    assert "could not install fuse3" not in done.stderr
