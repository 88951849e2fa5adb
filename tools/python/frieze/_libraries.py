"""Where pip has put NVIDIA's libraries, for an interpreter that no environment variable leads to."""

import glob
import os
import sysconfig
from typing import Iterable, MutableMapping

# The variable that names the file for the library, its file, and the folders of pip's packages that may hold it.
_LIBRARIES = (
    ("FRIEZE_CUBLASLT_FILE", "libcublasLt.so.*", ("cu13", "cublas")),
    ("FRIEZE_CUDNN_FILE", "libcudnn.so.*", ("cudnn",)),
)


def site_folders() -> Iterable[str]:
    return dict.fromkeys(sysconfig.get_paths()[name] for name in ("purelib", "platlib"))


def name_libraries(environment: MutableMapping[str, str] = os.environ) -> None:
    """Before the first use of CUDA: the library looks in $VIRTUAL_ENV, $CONDA_PREFIX and beside $PATH by itself; this adds the packages of the
    running interpreter where none of these leads to them. What the user has set stays."""
    if environment.get("VIRTUAL_ENV") or environment.get("CONDA_PREFIX"):
        return
    for variable, name, folders in _LIBRARIES:
        if environment.get(variable):
            continue
        places = (os.path.join(site, "nvidia", folder, "lib", name) for site in site_folders() for folder in folders)
        found = next((file for place in places for file in sorted(glob.glob(place))), None)
        if found is not None:
            environment[variable] = found
