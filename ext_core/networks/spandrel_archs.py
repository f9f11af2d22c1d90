"""Let spandrel, and what is built on it (chaiNNer, ComfyUI), open the networks of BasicSR and ours.

    from ext_core.networks import spandrel_archs
    spandrel_archs.install()
    model = spandrel.ModelLoader().load_from_file('net_g_latest.pth')

spandrel knows RRDBNet (ESRGAN) with 32 channels of growth by itself, and EDSR and RCAN under other names than
BasicSR's. Networks for luminance take and return RGB, see ``ext_arch.luma``. DegradationNet makes images smaller, which
spandrel has no word for: it is declared a restoration of scale 1.

The weights of SRCNN, FSRCNN, VDSR and DegradationNet do not show the scale. It is noted in the checkpoints that our
networks save, and in .safetensors files of scripts/convert_weights.py; for others, say it: ``install(scale=2)``.
"""

from collections.abc import Mapping
from typing import Any

from ext_core.errors import UserError
from ext_core.networks.metadata import without_mark
from ext_core.networks.recognise import KINDS, arguments_of, describe, multiple_of, reduces
from ext_core.registration import register_all

ID = 'BasicSR-Ext.'  # before the type: others register networks of the same names
_SPANDRELS_GROWTH = 32  # num_grow_ch of its RRDBNet, whatever the weights say
_TAGS = {'num_feat': 'nf', 'num_group': 'ng', 'num_block': 'nb', 'num_conv': 'nc'}
_told: dict[str, int | None] = {'scale': None}


def install(registry: Any = None, scale: int | None = None) -> None:
    """Add the networks to a registry of spandrel, before its own, with which none of them is confused.

    Idempotent, but for ``scale``: the last call decides.

    Args:
        registry (ArchRegistry | None): Default: None, spandrel's main registry, which all loaders use.
        scale (int | None): Of networks of which nothing else tells it. Default: None; loading them is an error then.

    Raises:
        UserError: If spandrel or BasicSR is not installed.
    """
    register_all()
    try:
        import spandrel
    except ImportError as error:
        raise UserError('spandrel is not installed. Install it with: pip install spandrel') from error
    from basicsr.archs import build_network

    class Ours(spandrel.Architecture):  # here, because spandrel is an optional package
        def __init__(self, kind: str) -> None:
            super().__init__(id=ID + kind, name=kind, detect=self.fits)

        def fits(self, state: Mapping[str, Any]) -> bool:
            found = arguments_of(self.name, state)
            return found is not None and found[0].get('num_grow_ch') != _SPANDRELS_GROWTH

        def load(self, state_dict: Mapping[str, Any]) -> Any:
            network, told, _ = describe(state_dict, _told['scale']) or ({}, None, {})
            if told is None:
                raise ValueError(
                    f'these weights of {self.name} do not show the scale. Convert the checkpoint with its option file '
                    '(scripts/convert_weights.py --options), or call '
                    'ext_core.networks.spandrel_archs.install(scale=...).'
                )
            net = build_network(network).eval()
            luminance = network['num_in_ch'] == 1 and hasattr(net, 'restore')
            tags = [f'{network[name]}{short}' for name, short in _TAGS.items() if name in network]
            scale = told
            if reduces(network):
                tags, scale = [*tags, f'reduces by {told}'], 1
            return spandrel.ImageModelDescriptor(
                net,
                dict(without_mark(state_dict)),
                architecture=self,
                purpose='Restoration' if scale == 1 else 'SR',
                tags=tags,
                supports_half=True,
                supports_bfloat16=True,
                scale=scale,
                input_channels=3 if luminance else network['num_in_ch'],
                output_channels=3 if luminance else network['num_out_ch'],
                size_requirements=spandrel.SizeRequirements(minimum=2, multiple_of=multiple_of(network, told)),
            )

    _told['scale'] = scale
    registry = spandrel.MAIN_REGISTRY if registry is None else registry
    ids = [support.architecture.id for support in registry]
    others = tuple(name for name in ids if not name.startswith(ID))
    supports = [spandrel.ArchSupport.from_architecture(Ours(kind), before=others) for kind in KINDS]
    registry.add(*supports, ignore_duplicates=True)
