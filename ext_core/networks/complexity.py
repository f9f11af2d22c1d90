"""What a network costs, whatever the machine: parameters and multiply-adds."""

from torch import nn


def parameter_count(net: nn.Module) -> int:
    """All parameters of a network, frozen ones included."""
    return sum(parameter.numel() for parameter in net.parameters())


def multiply_adds(net: nn.Module, shape: tuple[int, int, int]) -> float:
    """Multiply-adds of one forward pass, as mmengine counts them: convolutions, matrix products, normalisations.

    Args:
        net (nn.Module): On any device, in any mode.
        shape (tuple[int, int, int]): Of the input without the batch: (c, h, w).

    Raises:
        Exception: Of any kind, where the network has an operation that the counter's tracing does not know.
    """
    from mmengine.analysis import get_model_complexity_info
    from mmengine.logging import MMLogger

    MMLogger.get_current_instance().setLevel('ERROR')  # it warns of every activation that it counts as free
    return float(get_model_complexity_info(net, shape, show_table=False, show_arch=False)['flops'])
