"""What the fake engine answers to which path: the part of the engine's API that the agent uses."""

from __future__ import annotations

import json
import secrets
import struct
from collections.abc import Callable

from support.fake_container import FakeContainer, Refused
from support.fake_http import EngineRequest, Routes
from support.fake_programs import run_command

API = "1.43"


def _version(h: EngineRequest) -> None:
    h.answer(
        {
            "Version": "24.0.0-fake",
            "ApiVersion": API,
            "MinAPIVersion": "1.12",
            "Os": "linux",
            "Arch": "amd64",
            "Components": [{"Name": "Engine"}],
        }
    )


def _info(h: EngineRequest) -> None:
    h.answer(h.host.info)


# --- containers ---


def _list(h: EngineRequest) -> None:
    found = [c for c in h.host.containers.values() if h.matches(c.labels) and (h.flag("all") or c.running)]
    h.answer([container.listed() for container in found])


def _create(h: EngineRequest) -> None:
    container = h.host.create(h.query["name"], h.json())
    h.answer({"Id": container.id, "Warnings": []}, 201)


def _inspect(h: EngineRequest, name: str) -> None:
    h.answer(h.host.container(name).inspect())


def _start(h: EngineRequest, name: str) -> None:
    h.host.container(name).start()
    h.answer(None)


def _stop(h: EngineRequest, name: str) -> None:
    h.host.container(name).stop(float(h.query.get("t", 10)))
    h.answer(None)


def _kill(h: EngineRequest, name: str) -> None:
    h.host.container(name).kill()
    h.answer(None)


def _rename(h: EngineRequest, name: str) -> None:
    h.host.container(name).name = h.query["name"]
    h.answer(None)


def _delete(h: EngineRequest, name: str) -> None:
    h.host.remove(h.host.container(name))
    h.answer(None)


def _wait(h: EngineRequest, name: str) -> None:
    container = h.host.container(name)
    h.begin_chunks("application/json")
    with container.lock:
        container.changed.wait_for(lambda: container.status != "running")
        status = container.exit_code
    h.chunk(json.dumps({"StatusCode": status}).encode())
    h.wfile.write(b"0\r\n\r\n")


def _logs(h: EngineRequest, name: str) -> None:
    container = h.host.container(name)
    h.begin_chunks("application/vnd.docker.raw-stream")
    tail = h.query.get("tail", "all")
    sent = 0 if tail == "all" else max(0, len(container.lines) - int(tail))
    while True:
        for line in container.lines[sent:]:
            text = f"{line}\n".encode()
            h.chunk(struct.pack(">BxxxL", 1, len(text)) + text)
            sent += 1
        with container.lock:
            if not h.flag("follow") or (container.status not in ("running", "restarting")):
                break
            container.changed.wait(0.02)
    h.wfile.write(b"0\r\n\r\n")


def _exec_create(h: EngineRequest, name: str) -> None:
    container = h.host.container(name)
    if container.status != "running":
        raise Refused(409, f"Container {container.id} is not running")
    exec_id = secrets.token_hex(32)
    h.host.execs[exec_id] = {"ID": exec_id, "body": h.json(), "container": container, "ExitCode": None}
    h.answer({"Id": exec_id}, 201)


def _exec_start(h: EngineRequest, exec_id: str) -> None:
    run = h.host.execs[exec_id]
    body, container = run["body"], run["container"]
    assert isinstance(container, FakeContainer)
    h.json()
    h.close_connection = True
    h.send_response(101, "UPGRADED")
    h.send_header("Connection", "Upgrade")
    h.send_header("Upgrade", "tcp")
    h.end_headers()
    given = h.rfile.read() if body.get("AttachStdin") and not body.get("Tty") else b""
    output, status = run_command(body["Cmd"], given, container.files)
    run["ExitCode"] = status
    if output:
        h.wfile.write(output if body.get("Tty") else struct.pack(">BxxxL", 1, len(output)) + output)


def _exec_inspect(h: EngineRequest, exec_id: str) -> None:
    h.answer({"ID": exec_id, "ExitCode": h.host.execs[exec_id]["ExitCode"]})


def _exec_resize(h: EngineRequest, exec_id: str) -> None:
    h.host.execs[exec_id]["size"] = (h.query["h"], h.query["w"])
    h.answer(None)


# --- images, networks, volumes ---


def _images(h: EngineRequest) -> None:
    found = [image for image in h.host.images.values() if h.matches(image.labels)]
    h.answer([{"Id": i.id, "RepoTags": i.tags, "Labels": i.labels, "Size": i.size} for i in found])


def _image(h: EngineRequest, name: str) -> None:
    image = h.host.image(name)
    config = json.loads(image.config)
    h.answer(
        {
            "Id": image.id,
            "RepoTags": image.tags,
            "Config": config.get("config"),
            "Architecture": config.get("architecture"),
            "Os": config.get("os"),
            "Size": image.size,
            "RootFS": {"Type": "layers", "Layers": config["rootfs"]["diff_ids"]},
        }
    )


def _image_delete(h: EngineRequest, name: str) -> None:
    image = h.host.image(name)
    users = [c for c in h.host.containers.values() if c.image is image]
    if any(c.running for c in users) or (users and not h.flag("force")):
        raise Refused(409, "conflict: image is being used")
    del h.host.images[image.id]
    h.answer([{"Deleted": image.id}])


def _image_tag(h: EngineRequest, name: str) -> None:
    image = h.host.image(name)
    image.tags.append(f"{h.query['repo']}:{h.query.get('tag', 'latest')}")
    h.host.put_image(image)
    h.answer(None, 201)


def _get_from(kind: str) -> Callable[[EngineRequest, str], None]:
    def get(h: EngineRequest, name: str) -> None:
        found = getattr(h.host, kind).get(name)
        if found is None:
            raise Refused(404, f"no such {kind[:-1]}: {name}")
        h.answer(found)

    return get


def _create_in(kind: str, *, unique: bool) -> Callable[[EngineRequest], None]:
    def create(h: EngineRequest) -> None:
        body, there = h.json(), getattr(h.host, kind)
        if unique and body["Name"] in there:
            raise Refused(409, f"{kind[:-1]} with name {body['Name']} already exists")
        there.setdefault(body["Name"], body)
        h.answer(body, 201)

    return create


def _network_delete(h: EngineRequest, name: str) -> None:
    if any(name == c.body["HostConfig"].get("NetworkMode") and c.running for c in h.host.containers.values()):
        raise Refused(403, f"error while removing network: network {name} has active endpoints")
    h.host.networks.pop(name, None)
    h.answer(None)


def _volumes(h: EngineRequest) -> None:
    h.answer({"Volumes": [v for v in h.host.volumes.values() if h.matches(v.get("Labels") or {})] or None})


def _volume_delete(h: EngineRequest, name: str) -> None:
    if name not in h.host.volumes:
        raise Refused(404, f"no such volume: {name}")
    for container in h.host.containers.values():
        for mount in container.body["HostConfig"].get("Mounts") or []:
            if mount["Type"] == "volume" and mount["Source"] == name:
                raise Refused(409, f"volume is in use - [{container.id}]")
    del h.host.volumes[name]
    h.answer(None)


ROUTES: Routes = [
    ("GET", "/version", _version),
    ("GET", "/info", _info),
    ("GET", "/containers/json", _list),
    ("POST", "/containers/create", _create),
    ("GET", "/containers/([^/]+)/json", _inspect),
    ("POST", "/containers/([^/]+)/start", _start),
    ("POST", "/containers/([^/]+)/stop", _stop),
    ("POST", "/containers/([^/]+)/kill", _kill),
    ("POST", "/containers/([^/]+)/rename", _rename),
    ("POST", "/containers/([^/]+)/wait", _wait),
    ("GET", "/containers/([^/]+)/logs", _logs),
    ("DELETE", "/containers/([^/]+)", _delete),
    ("POST", "/containers/([^/]+)/exec", _exec_create),
    ("POST", "/exec/([^/]+)/start", _exec_start),
    ("GET", "/exec/([^/]+)/json", _exec_inspect),
    ("POST", "/exec/([^/]+)/resize", _exec_resize),
    ("GET", "/images/json", _images),
    ("GET", "/images/(.+)/json", _image),
    ("POST", "/images/(.+)/tag", _image_tag),
    ("DELETE", "/images/(.+)", _image_delete),
    ("GET", "/networks/([^/]+)", _get_from("networks")),
    ("DELETE", "/networks/([^/]+)", _network_delete),
    ("POST", "/networks/create", _create_in("networks", unique=True)),
    ("GET", "/volumes", _volumes),
    ("POST", "/volumes/create", _create_in("volumes", unique=False)),
    ("GET", "/volumes/([^/]+)", _get_from("volumes")),
    ("DELETE", "/volumes/([^/]+)", _volume_delete),
]
