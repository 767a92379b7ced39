"""What can be opened below a folder: under each policy, by the kernel's way and by hand."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxyapp import errors
from proxyapp.rules.symlinks import Symlinks
from proxyapp.site import confinement
from proxyapp.site.confinement import Root, WouldWait
from proxyapp.site.paths import parse_location

INSIDE, ALL, NONE = Symlinks
SECRET = b"SECRET"


def make_tree(top: Path) -> Path:
    """Return a root with a link of every kind in it, and secrets beside it."""
    for folder in ("www/sub/deep", "www-more", "www/.git", "elsewhere"):
        (top / folder).mkdir(parents=True)
    for name in ("www/a.txt", "www/sub/b.txt", "www/sub/deep/c.txt", "www/.git/config"):
        (top / name).write_bytes(name.encode())
    for name in ("secret.txt", "www-more/secret.txt", "elsewhere/a.txt"):
        (top / name).write_bytes(SECRET)
    links = {
        "www/link": "a.txt",
        "www/chain": "link",
        "www/folder-link": "sub",
        "www/sub/up-and-down": "../a.txt",
        "www/absolute-inside": str(top / "www/a.txt"),
        "www/round-about": "../www/sub/b.txt",
        "www/by-the-other-name": str(top / "current/a.txt"),
        "www/outside": "../secret.txt",
        "www/outside-folder": "../www-more",
        "www/absolute-outside": str(top / "secret.txt"),
        "www/sub/twice": "../folder-link/deep/../../../secret.txt",
        "www/magic": "/proc/self/root",
        "www/nowhere": "missing",
        "www/itself": "itself",
        "current": "www",
    }
    for name, destination in links.items():
        (top / name).symlink_to(destination)
    os.mkfifo(top / "www/fifo")
    (top / "www/device").symlink_to("/dev/null")
    return top / "www"


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the root."""
    return make_tree(tmp_path_factory.mktemp("confinement"))


@pytest.fixture(params=["kernel", "hand"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Open by openat2(2), and by hand as where there is none."""
    way: str = request.param
    if way == "hand":
        monkeypatch.setattr(confinement, "_has_openat2", lambda: False)
        monkeypatch.setattr(confinement, "_can_look_up_only", lambda: False)
    elif not confinement._has_openat2():
        pytest.skip("this kernel has no openat2")
    return way


@pytest.fixture(autouse=True)
def _all_closed() -> Iterator[None]:
    """Fail a test that leaves a descriptor open."""
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before


def read(root: Root, path: str) -> bytes:
    """Return the content of the file at *path*."""
    file = root.open(parse_location(path.encode(), True).segments)
    try:
        return os.pread(file.descriptor, 1000, 0)
    finally:
        file.close()


# Path, and the policies under which it isn't found.
REFUSED = [
    ("/missing", {INSIDE, ALL, NONE}),
    ("/a.txt/b", {INSIDE, ALL, NONE}),
    ("/nowhere", {INSIDE, ALL, NONE}),
    ("/itself", {INSIDE, ALL, NONE}),
    ("/itself/x", {INSIDE, ALL, NONE}),
    ("/fifo", {INSIDE, ALL, NONE}),
    ("/device", {INSIDE, ALL, NONE}),
    ("/" + "x" * 300, {INSIDE, ALL, NONE}),
    ("/" + "x/" * 3000 + "x", {INSIDE, ALL, NONE}),
    ("/outside", {INSIDE, NONE}),
    ("/outside-folder", {INSIDE, NONE}),
    ("/outside-folder/secret.txt", {INSIDE, NONE}),
    ("/absolute-outside", {INSIDE, NONE}),
    ("/sub/twice", {INSIDE, NONE}),
    ("/folder-link/twice", {INSIDE, NONE}),
    ("/magic/etc/passwd", {INSIDE, NONE}),
    ("/link", {NONE}),
    ("/chain", {NONE}),
    ("/folder-link", {NONE}),
    ("/folder-link/b.txt", {NONE}),
    ("/sub/up-and-down", {NONE}),
    ("/absolute-inside", {NONE}),
    ("/round-about", {NONE}),
    ("/by-the-other-name", {NONE}),
    ("/folder-link/up-and-down", {NONE}),
    ("/folder-link/deep/c.txt", {NONE}),
    ("/a.txt", set()),
    ("/sub", set()),
    ("/sub/b.txt", set()),
    ("/sub/deep/c.txt", set()),
]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("symlinks", [INSIDE, ALL, NONE])
@pytest.mark.parametrize(("path", "refused"), REFUSED)
def test_policies(tree: Path, path: str, refused: set[Symlinks], symlinks: Symlinks) -> None:
    """Each policy finds what it should, by either way, and nothing else."""
    segments = parse_location(path.encode()).segments
    root = Root(tree, symlinks, False)
    if symlinks in refused:
        with pytest.raises(errors.NotFound):
            root.open(segments)
    else:
        root.open(segments).close()


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/a.txt", b"www/a.txt"),
        ("/chain", b"www/a.txt"),
        ("/sub/up-and-down", b"www/a.txt"),
        ("/folder-link/up-and-down", b"www/a.txt"),
        ("/absolute-inside", b"www/a.txt"),
        ("/by-the-other-name", b"www/a.txt"),
        ("/round-about", b"www/sub/b.txt"),
        ("/folder-link/deep/c.txt", b"www/sub/deep/c.txt"),
    ],
)
def test_links_lead_where_they_say(tree: Path, path: str, content: bytes) -> None:
    """A link that ends inside gives what it points at, also by way of outside."""
    assert read(Root(tree, INSIDE, False), path) == content
    assert read(Root(tree, ALL, False), path) == content


@pytest.mark.usefixtures("way")
def test_all_means_all(tree: Path) -> None:
    """Where every link is followed, those that lead out are too."""
    assert read(Root(tree, ALL, False), "/outside") == SECRET


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "segments",
    [(b"..",), (b"sub", b"..", b"a.txt"), (b".",), (b"",), (b"a/b",), (b"/etc",), (b".git",)],
)
def test_names_are_checked_here_too(tree: Path, segments: tuple[bytes, ...]) -> None:
    """Whoever opens without a path that was parsed is held to the same rules."""
    with pytest.raises(errors.NotFound):
        Root(tree, ALL, False).open(segments)
    with pytest.raises(errors.BadRequest):
        Root(tree, ALL, True).open((b"a\x00b",))


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("symlinks", [INSIDE, ALL, NONE])
def test_hidden_files_can_be_served(tree: Path, symlinks: Symlinks) -> None:
    """Dot files are there where the site says so."""
    assert read(Root(tree, symlinks, True), "/.git/config") == b"www/.git/config"


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("symlinks", [INSIDE, ALL, NONE])
def test_the_root_itself(tree: Path, symlinks: Symlinks) -> None:
    """Without segments it is the root that is opened, to be read as a folder."""
    found = Root(tree, symlinks, False).open(())
    assert found.is_folder
    assert b"a.txt" in [os.fsencode(name) for name in os.listdir(found.descriptor)]
    found.close()


@pytest.mark.usefixtures("way")
def test_the_root_may_be_the_whole_system(tree: Path) -> None:
    """A root of / has everything below it, by links too."""
    root = Root(Path("/"), INSIDE, False)
    assert read(root, f"{tree}/a.txt") == b"www/a.txt"
    assert read(root, f"{tree}/absolute-inside") == b"www/a.txt"


@pytest.mark.usefixtures("way")
def test_a_root_that_is_switched(tmp_path: Path) -> None:
    """A root that is a symlink is looked up for each opening, as deployments switch it."""
    tree = make_tree(tmp_path)
    link = tmp_path / "current"
    root = Root(link, INSIDE, False)
    assert read(root, "/a.txt") == b"www/a.txt"
    link.unlink()
    with pytest.raises(errors.NotFound):
        root.open((b"a.txt",))
    link.symlink_to("elsewhere")
    assert read(root, "/a.txt") == SECRET
    assert tree.exists()


def test_a_relative_root_stays(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative root means the folder it named when it was given."""
    monkeypatch.chdir(tree.parent)
    root = Root(Path("www"), NONE, False)
    monkeypatch.chdir("/")
    assert read(root, "/a.txt") == b"www/a.txt"
    assert repr(root) == f"<Root {tree}, symlinks none>"


# Races.


def swap(path: Path, destinations: tuple[str, str], done: threading.Event) -> None:
    """Let *path* be now one link and now the other, until *done*."""
    turn = 0
    while not done.is_set():
        fresh = path.with_name("fresh")
        fresh.symlink_to(destinations[turn])
        os.replace(fresh, path)
        turn = 1 - turn


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("symlinks", [INSIDE, NONE])
@pytest.mark.parametrize(
    ("name", "destinations", "path"),
    [
        ("flip", ("sub", "../www-more"), "/flip/secret.txt"),
        ("flip", ("a.txt", "../secret.txt"), "/flip"),
        ("sub/flip", ("..", "../.."), "/sub/flip/secret.txt"),
        ("sub/flip", ("deep", "../../www-more"), "/folder-link/flip/secret.txt"),
    ],
)
def test_a_link_swapped_meanwhile_leads_nowhere(
    tmp_path: Path, symlinks: Symlinks, name: str, destinations: tuple[str, str], path: str
) -> None:
    """However often a link is switched while it is followed, nothing outside is ever opened."""
    root = Root(make_tree(tmp_path), symlinks, False)
    done = threading.Event()
    swapping = threading.Thread(target=swap, args=(tmp_path / "www" / name, destinations, done))
    swapping.start()
    try:
        for _ in range(300):
            try:
                content = read(root, path)
            except (errors.NotFound, errors.Overloaded):
                continue
            assert content != SECRET
    finally:
        done.set()
        swapping.join()


@pytest.mark.usefixtures("way")
def test_a_link_put_in_the_way_of_what_was_resolved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that turns into a link between resolving and opening is not followed."""
    root = Root(make_tree(tmp_path), INSIDE, False)
    real = os.path.realpath

    def resolve(path: bytes, strict: bool = False) -> bytes:
        found = real(path, strict=strict)
        if found.endswith(b"b.txt"):
            (tmp_path / "www/sub").rename(tmp_path / "www/moved")
            (tmp_path / "www/sub").symlink_to("../www-more")
            (tmp_path / "www-more/b.txt").write_bytes(SECRET)
        return found

    monkeypatch.setattr(os.path, "realpath", resolve)
    with pytest.raises(errors.NotFound):
        root.open((b"round-about",))


# What can be had without waiting.


def test_nothing_is_asked_of_a_disk(tree: Path) -> None:
    """Without leave to wait, what the kernel knows is opened, and the rest is left to a thread."""
    if not confinement._can_look_up_only():
        pytest.skip("this kernel can't say what it has in memory")
    root = Root(tree, INSIDE, False)
    read(root, "/sub/b.txt")
    with root.entered(may_wait=False) as folder:
        folder.open((b"sub", b"b.txt")).close()
        # To resolve by hand means to wait.
        with pytest.raises(WouldWait):
            folder.open((b"round-about",))


def test_old_kernels_always_wait(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel can't say what it has in memory, everything is left to a thread."""
    monkeypatch.setattr(confinement, "_can_look_up_only", lambda: False)
    with pytest.raises(WouldWait), Root(tree, INSIDE, False).entered(may_wait=False):
        raise AssertionError("it was entered")


# Failures of the system.


class Kernel:
    """Stands in for syscall(2): fails with each of *numbers* in turn, then opens /dev/null."""

    def __init__(self, numbers: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
        self.numbers = numbers
        self.calls = 0
        self.number = 0
        monkeypatch.setattr(confinement, "_syscall", self)
        monkeypatch.setattr("ctypes.get_errno", lambda: self.number)

    def __call__(self, *_: object) -> int:
        self.calls += 1
        if self.numbers:
            self.number = self.numbers.pop(0)
            return -1
        return os.open("/dev/null", os.O_RDONLY)


def test_the_kernel_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rename elsewhere, or a signal, ends an attempt and not the request."""
    kernel = Kernel([errno.EAGAIN, errno.EINTR, errno.EAGAIN], monkeypatch)
    os.close(confinement._openat2(3, b"x", 0, True))
    assert kernel.calls == 4


@pytest.mark.parametrize(
    ("number", "may_wait", "calls", "error"),
    [
        (errno.EAGAIN, True, confinement._TRIES, OSError),
        (errno.EAGAIN, False, 1, WouldWait),
        (errno.ENOENT, True, 1, OSError),
        (errno.EXDEV, False, 1, OSError),
    ],
)
def test_the_kernel_is_not_asked_for_ever(
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    may_wait: bool,
    calls: int,
    error: type[Exception],
) -> None:
    """Attempts are bounded, and one is all where waiting isn't allowed."""
    kernel = Kernel([number] * 50, monkeypatch)
    with pytest.raises(error):
        confinement._openat2(3, b"x", 0, may_wait)
    assert kernel.calls == calls


@pytest.mark.parametrize(
    ("number", "is_understood"),
    [
        (errno.ENOSYS, False),
        (errno.EPERM, False),
        (errno.EINVAL, False),
        (errno.E2BIG, False),
        (errno.EAGAIN, True),
    ],
)
def test_sandboxes_and_old_kernels_are_noticed(
    monkeypatch: pytest.MonkeyPatch, number: int, is_understood: bool
) -> None:
    """A kernel, or a filter of system calls, that refuses openat2 is not asked for it again."""
    Kernel([number] * 50, monkeypatch)
    assert confinement._is_understood(0) is is_understood


def test_other_numbers_are_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    """On machines where 437 is another call, it isn't made."""
    kernel = Kernel([], monkeypatch)
    monkeypatch.setattr(os, "uname", lambda: os.uname_result(("", "", "", "", "mips64")))
    assert not confinement._is_understood(0)
    assert not kernel.calls


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.EIO, errors.InternalError),
        (errno.ESTALE, errors.InternalError),
        (errno.EACCES, errors.AccessDenied),
        (errno.EPERM, errors.AccessDenied),
        (errno.EMFILE, errors.Overloaded),
        (errno.ENFILE, errors.Overloaded),
        (errno.ENOMEM, errors.Overloaded),
        (errno.ELOOP, errors.NotFound),
        (errno.EXDEV, errors.NotFound),
        (errno.ENAMETOOLONG, errors.NotFound),
        (errno.ENOTDIR, errors.NotFound),
        (errno.ENXIO, errors.NotFound),
    ],
)
@pytest.mark.parametrize("call", ["open", "fstat"])
def test_errors_of_the_system_in_our_words(
    tree: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    error: type[errors.ExchangeError],
) -> None:
    """Each failing call becomes the right status, and shows nothing of the system's text."""

    def fail(*_: object, **__: object) -> int:
        raise OSError(number, "system text", "/path")

    with monkeypatch.context() as patched:
        patched.setattr(os, call, fail)
        with pytest.raises(error) as caught:
            Root(tree, INSIDE, False).open((b"a.txt",))
    assert type(caught.value) is error
    assert "text" not in caught.value.reason
    assert "/path" not in caught.value.reason


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_forbidden(tmp_path: Path) -> None:
    """A file whose permissions keep us out is a 403, whose reason doesn't show its path."""
    (tmp_path / "a").touch(mode=0o200)
    with pytest.raises(errors.AccessDenied) as caught:
        Root(tmp_path, INSIDE, False).open((b"a",))
    assert str(tmp_path) not in caught.value.reason
