"""The runner of documentation pages fails if a block fails, and writes files and runs services as it says."""

import doc_pages
import pytest
from doc_pages import free_port, page_blocks, run_page

SERVICE = """
import http.server, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.HTTPServer(("127.0.0.1", 8080), http.server.SimpleHTTPRequestHandler).serve_forever()
"""


@pytest.fixture
def page_of(tmp_path, monkeypatch):
    """Writes a page of (info string, text) blocks and returns its path."""
    monkeypatch.setattr(doc_pages, "ROOT", tmp_path)

    def write(*blocks):
        text = "\n".join(f"Words.\n\n```{info}\n{text.strip()}\n```\n" for info, text in blocks)
        (tmp_path / "page.md").write_text(text)
        return "page.md"

    return write


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def test_page_blocks_have_language_words_text_and_line(page_of):
    first, second = page_blocks(page_of(("sh exit=3", "exit 3"), ("text", "a\nb")), {"3": "4"})
    assert (first.language, first.words, first.text, first.line) == ("sh", ("exit=4",), "exit 4\n", 3)
    assert (second.language, second.text, second.place) == ("text", "a\nb\n", "page.md:9")


def test_run_page_runs_scripts_in_order_and_writes_files(page_of, folder):
    page = page_of(
        ("toml file=a/b.toml", "x = 1"),
        ("toml append=a/b.toml", "y = 2"),
        ("sh", "cat a/b.toml | wc -l > lines"),
        ("python", "print(open('lines').read())"),
        ("sh", "karec --help"),
        ("sh no-run", "false"),
        ("text", "false"),
    )
    run = run_page(page, folder)
    assert len(run.outputs) == 3
    assert run.output("open('lines')").strip() == "2"


@pytest.mark.parametrize(
    ("info", "text"),
    [
        ("sh", "false\ntrue"),
        ("sh", "false | true"),
        ("sh", "echo $MISSING_NAME"),
        ("sh exit=3", "true"),
        ("python", "1 / 0"),
        ("toml", "x ="),
        ("sh", "karec no-such-command"),
        ("sh background ready=http://127.0.0.1:9/", "false"),
    ],
)
def test_run_page_fails_if_a_block_fails(page_of, folder, info, text):
    with pytest.raises(AssertionError, match=r"page\.md:3"):
        run_page(page_of((info, text)), folder)


def test_service_of_a_page_runs_until_its_last_block_ends(page_of, folder):
    port = str(free_port())
    page = page_of(
        ("python file=service.py", SERVICE),
        ("sh background ready=http://127.0.0.1:8080/", "true\npython service.py"),
        (
            "python",
            "import urllib.request\nprint(urllib.request.urlopen('http://127.0.0.1:8080/service.py').status)",
        ),
    )
    run = run_page(page, folder, replacements={"8080": port})
    assert run.output("urlopen") == "200\n"


def test_service_of_a_page_that_ends_with_an_error_fails(page_of, folder):
    port = str(free_port())
    page = page_of(
        ("python file=service.py", SERVICE.replace("sys.exit(0)", "sys.exit(1)")),
        ("sh background ready=http://127.0.0.1:8080/", "python service.py"),
    )
    with pytest.raises(AssertionError, match="ended with 1"):
        run_page(page, folder, replacements={"8080": port})
