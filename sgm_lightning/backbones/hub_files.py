"""Files of a repository on the Hugging Face hub, and the rule which names are those of folders."""

from __future__ import annotations

import re
from pathlib import Path

from sgm_lightning.errors import SGMError

_SECONDS = 10.0
_OFFLINE: dict[str, str] = {}  # why only the cached files of a repository can be had, as far as this process knows


def is_folder_name(name: str) -> bool:
    """Return whether a name can only be that of a folder: hub ids are `name` or `owner/name`."""
    beside = Path(name).parent
    return (
        name.startswith((".", "/", "~", "\\"))
        or name.count("/") > 1
        or bool(re.match(r"[A-Za-z]:", name))
        or (beside != Path(".") and beside.is_dir())
    )


def hub_file(repository: str, name: str, revision: str | None) -> Path | None:
    """Return the path of a file in the local cache of the hub, or None if the repository has no such file.

    The hub is asked once. Without a connection, the cached file is taken.

    Raises:
        SGMError: If the repository does not exist, or neither the hub nor the cache has the file.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

    if repository not in _OFFLINE:
        try:
            get_hf_file_metadata(hf_hub_url(repository, name, revision=revision), timeout=_SECONDS)
            return Path(hf_hub_download(repository, name, revision=revision))
        except EntryNotFoundError as error:
            if not isinstance(error, LocalEntryNotFoundError):
                return None
            _OFFLINE[repository] = _first_line(error)
        except RepositoryNotFoundError as error:
            raise _not_there(repository, _first_line(error)) from None
        except Exception as error:  # no connection, an invalid id, a hub that is down …
            _OFFLINE[repository] = _first_line(error)
    try:
        return Path(hf_hub_download(repository, name, revision=revision, local_files_only=True))
    except Exception:
        if name == "model_index.json":  # folders may do without it
            return None
        raise _not_there(repository, _OFFLINE[repository]) from None


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0][:160]


def _not_there(repository: str, reason: str) -> SGMError:
    return SGMError(
        f"There is no folder {repository}, and the hub did not give a repository of that name ({reason}); check "
        f"`model.backbone.init_args.path`, or fetch it where there is a connection (`hf download {repository}`) and give "
        "its folder."
    )
