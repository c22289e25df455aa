# Does nothing where the package is installed. Elsewhere, as in Colab, it is installed from the checkout around this
# notebook, or from the address in SESN_REPOSITORY, one that `git clone` takes.
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

if importlib.util.find_spec("sesn_lib") is None:
    here = Path.cwd()
    around = [folder for folder in (here, *here.parents) if (folder / "sesn_lib" / "__init__.py").is_file()]
    root, address = around[0] if around else here / "sesn-report", os.environ.get("SESN_REPOSITORY")
    if not around and not address:
        sys.exit("sesn_lib is not installed: `pip install -e .` in its checkout, or set SESN_REPOSITORY to its address")
    if not root.exists():
        subprocess.run(["git", "clone", "-q", "--depth", "1", address, str(root)], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-e", str(root)], check=True)
    sys.path.insert(0, str(root))
    os.chdir(root / "notebooks")
