"""Settings as nested dictionaries, as YAML gives them."""


def changed(config: dict, changes: dict) -> dict:
    """The settings with others in their places, named as in `model__guidance__init_args`."""
    for path, value in changes.items():
        node = config
        *parents, last = path.split("__")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return config


def of(name, **init_args):
    """A class and its arguments."""
    return {"class_path": name, "init_args": init_args}


def places(tree, path=()):
    """Every place of a tree of dictionaries and lists: leaves and branches."""
    for key in tree if isinstance(tree, dict) else range(len(tree)):
        yield (*path, key)
        if isinstance(tree[key], (dict, list)):
            yield from places(tree[key], (*path, key))
