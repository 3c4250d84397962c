"""deploy/: the files agree with each other and with what karec serve does unless told."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

from karec.config.serve_settings import ServeSettings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
PROMETHEUS = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
UNIT = (DEPLOY / "karec.service").read_text()
SERVICES = COMPOSE["services"]
PORT = ServeSettings().port


def unit_values(key):
    return re.findall(rf"^{key}=(.*)$", UNIT, re.MULTILINE)


def test_image_build_copies_all_files_that_a_wheel_needs():
    copied = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert [name for name in copied if not (ROOT / name).exists()] == []
    assert {"karec", "kernels", "native", "pyproject.toml", "setup.py", "CMakeLists.txt", "README.md"} <= set(
        copied
    )


def test_commands_of_image_compose_and_unit_are_valid():
    from karec.cli.app import app

    command = typer.main.get_command(app)
    (image,) = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    (unit,) = unit_values("ExecStart")
    for words in (yaml.safe_load(image), SERVICES["karec-a"]["command"], unit.split()[1:]):
        assert words[0] == "serve"
        context = command.commands["serve"].make_context("serve", words[1:])
        assert context.params["config"].name == "karec.toml"


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_this_machine_only(name):
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:")


def test_haproxy_and_prometheus_reach_all_hosts():
    hosts = [f"{name}:{PORT}" for name in SERVICES if name.startswith("karec-")]
    environment = SERVICES["haproxy"]["environment"]
    assert [environment[f"KAREC_{letter}"] for letter in "ABC"] == hosts
    named = set(re.findall(r"\$\{(\w+)", (DEPLOY / "haproxy.cfg").read_text()))
    assert set(environment) == named
    services, proxy = PROMETHEUS["scrape_configs"]
    assert services["static_configs"] == [{"targets": hosts}] and services["metrics_path"] == "/metrics"
    assert proxy["static_configs"] == [{"targets": ["haproxy:8405"]}]


def test_names_in_compose_are_defined():
    for service in SERVICES.values():
        assert set(service.get("depends_on", [])) <= set(SERVICES)
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
        assert {entry["source"] for entry in service.get("configs", [])} <= set(COMPOSE["configs"])
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).is_file(), source
            elif not source.startswith("$"):
                assert source in COMPOSE["volumes"]
    secret = PROMETHEUS["scrape_configs"][0]["authorization"]["credentials_file"]
    assert secret.removeprefix("/run/secrets/") in SERVICES["prometheus"]["secrets"]
    for config in COMPOSE["configs"].values():
        assert yaml.safe_load(config["content"])["apiVersion"] == 1


def test_karec_has_a_read_only_root_and_no_capability():
    karec = SERVICES["karec-a"]
    assert (
        karec["read_only"] is True and karec["cap_drop"] == ["ALL"] and karec["tmpfs"] == ["/tmp:mode=1777"]
    )


def test_whoever_stops_it_waits_until_it_has_drained():
    drain = ServeSettings().drain_seconds
    assert int(SERVICES["karec-a"]["stop_grace_period"].removesuffix("s")) > drain
    assert int(unit_values("TimeoutStopSec")[0]) > drain


def test_systemd_reads_the_units(tmp_path):
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is missing: apt-get install systemd")
    unit = tmp_path / "karec.service"  # with a program that exists
    unit.write_text(UNIT.replace("/opt/karec/bin/karec", "/bin/true"))
    socket = shutil.copy(DEPLOY / "karec.socket", tmp_path)
    command = [program, "verify", "--man=no", unit, socket]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_unit_serves_on_the_socket_unit():
    (listen,) = re.findall(
        r"^ListenStream=127.0.0.1:(\d+)$", (DEPLOY / "karec.socket").read_text(), re.MULTILINE
    )
    (command,) = unit_values("ExecStart")
    assert int(listen) == PORT and command.endswith("--fd 3")


def test_systemd_rates_the_exposure_of_the_unit_as_low(tmp_path):
    """Of 10; 1.2 now. What is left: it is on the network, and Numba writes code."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not there: apt-get install systemd")
    command = [
        program,
        "security",
        "--offline=true",
        "--no-pager",
        "--threshold=15",
        DEPLOY / "karec.service",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
