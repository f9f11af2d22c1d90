"""Arguments of a network that leave no trace in the shapes of its weights, noted beside them in checkpoints."""

from typing import Any, ClassVar

from torch import nn


class NotesArguments(nn.Module):
    """Base of networks that note such arguments in their state dict, in torch's ``_metadata``.

    So a checkpoint alone is enough to build the network. Loading ignores the note, and files without it load too.
    Subclasses name the arguments, which they keep as attributes, in ``UNSEEN``.
    """

    UNSEEN: ClassVar[tuple[str, ...]] = ()

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        noted = getattr(destination, '_metadata', {})
        if prefix[:-1] in noted:
            noted[prefix[:-1]]['network'] = {name: getattr(self, name) for name in self.UNSEEN}
