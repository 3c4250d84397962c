"""deploy/*-job.yaml: valid by the schemas of Kubernetes, and their commands are those of karec."""

import copy
from pathlib import Path

import kubernetes_validate
import pytest
import typer
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
MANIFESTS = {
    f"{path.name}/{document['kind']}": document
    for path in sorted(DEPLOY.glob("*-job.yaml"))
    for document in yaml.safe_load_all(path.read_text())
}
JOBS = {name: document["spec"] for name, document in MANIFESTS.items() if document["kind"] == "Job"}
VERSIONS = ["1.30.0", kubernetes_validate.latest_version()]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", MANIFESTS)
def test_manifest_is_valid_by_the_schema(name, version):
    kubernetes_validate.validate(MANIFESTS[name], version, strict=True)


@pytest.mark.parametrize("name", JOBS)
def test_misspelt_key_is_refused_by_the_schema(name):
    manifest = copy.deepcopy(MANIFESTS[name])
    manifest["spec"]["completionsMode"] = "Indexed"
    with pytest.raises(kubernetes_validate.ValidationError, match="completionsMode"):
        kubernetes_validate.validate(manifest, VERSIONS[0], strict=True)


@pytest.mark.parametrize("name", JOBS)
def test_each_completion_is_one_process_of_a_group_that_starts_at_once(name):
    job = JOBS[name]
    (container,) = job["template"]["spec"]["containers"]
    assert job["completionMode"] == "Indexed" and job["completions"] == job["parallelism"]
    variables = {f"$({variable['name']})" for variable in container["env"]}
    named = {word for words in container["args"] for word in variables if word in words}
    assert named == variables
    mounts, volumes = container["volumeMounts"], job["template"]["spec"]["volumes"]
    assert {mount["name"] for mount in mounts} == {volume["name"] for volume in volumes}


def test_refresh_job_runs_a_valid_command_with_all_workers():
    from karec.cli.app import app
    from karec.refresh.workers import Worker

    job = JOBS["refresh-job.yaml/Job"]
    (container,) = job["template"]["spec"]["containers"]
    name, *words = container["args"]
    context = typer.main.get_command(app).commands[name].make_context(name, words)
    text = context.params["worker"]
    workers = [Worker.from_text(text.replace("$(WORKER)", str(index))) for index in range(job["completions"])]
    assert {worker.count for worker in workers} == {job["completions"]}


def test_training_job_starts_torchrun_with_a_valid_command_on_each_machine():
    from torch.distributed.run import get_args_parser

    from karec.cli.app import app

    job, service = JOBS["train-job.yaml/Job"], MANIFESTS["train-job.yaml/Service"]
    (container,) = job["template"]["spec"]["containers"]
    torchrun = get_args_parser().parse_args(container["args"])
    assert int(torchrun.nnodes) == job["completions"] and torchrun.module
    assert torchrun.training_script == "karec.cli"
    name, *words = torchrun.training_script_args
    typer.main.get_command(app).commands[name].make_context(name, words)
    job_name, domain = MANIFESTS["train-job.yaml/Job"]["metadata"]["name"], service["metadata"]["name"]
    assert torchrun.rdzv_endpoint.partition(":")[0] == f"{job_name}-0.{domain}"
    assert service["spec"]["selector"] == {"batch.kubernetes.io/job-name": job_name}
    assert job["template"]["spec"]["subdomain"] == domain
