"""The live page: this machine's alone, and always of the run as it is."""

import http.client
import json
import threading

import pytest

from raysearch import pages
from raysearch.errors import ConfigError, RunFolderError
from raysearch.testing.runs import made_up_run


@pytest.fixture
def served(tmp_path):
    folder = made_up_run(tmp_path / "run", 8, finished=False)
    with pages.live(folder) as server:
        thread = threading.Thread(target=server.serve)
        thread.start()
        yield folder, server
        server.close()
        thread.join(60)
        assert not thread.is_alive()


def get(server, path, host=None, method="GET"):
    port = int(server.url.rsplit(":", 1)[1].strip("/"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, headers={"Host": host or f"127.0.0.1:{port}"})
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer.status, body


def test_the_page_its_data_and_its_figures_come(served):
    server = served[1]
    assert server.url.startswith("http://127.0.0.1:")
    status, page = get(server, "/")
    assert (status, "connect-src" in page, 'data-live="funnel"' in page) == (200, True, True)
    data = json.loads(get(server, "/data.json")[1])
    assert get(server, "/data.js")[1].startswith("raysearch.take({")
    assert get(server, f"/figures/{data['candidates']['figures'][0]}.js")[1].startswith("raysearch.figures(")


@pytest.mark.parametrize(
    "path",
    [
        "/run.json",
        "/../run.json",
        "/report",
        "/figures/",
        "/figures/99.js",
        "/figures/..%2f..%2frun.json",
        "/figures/" + "9" * 9 + ".js",
    ],
)
def test_nothing_else_is_served(served, path):
    assert get(served[1], path)[0] == 404


def test_other_names_and_methods_are_refused(served):
    assert get(served[1], "/", host="evil.example")[0] == 421
    assert get(served[1], "/data.json", host="127.0.0.1")[0] == 421
    assert get(served[1], "/", method="POST")[0] == 501


def test_it_follows_the_run(served):
    folder, server = served
    before, data = get(server, "/version")[1], json.loads(get(server, "/data.json")[1])
    assert "waiting" in data["observations"]["status"]
    made_up_run(folder, 8)  # the same run, to its end
    after = get(server, "/version")[1]
    assert after != before
    data = json.loads(get(server, "/data.json")[1])
    assert (data["version"], data["finished"]) == (json.loads(after), True)
    assert "waiting" not in data["observations"]["status"]


def test_a_port_that_is_taken_and_a_folder_that_is_none_are_told(served, tmp_path):
    folder, server = served
    with pytest.raises(ConfigError, match="choose another --port"):
        pages.live(folder, int(server.url.rsplit(":", 1)[1].strip("/")))
    with pytest.raises(RunFolderError, match="is no run folder"):
        pages.live(tmp_path / "nothing")
