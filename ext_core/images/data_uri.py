"""Images inside of HTML."""

import base64

import cv2
import numpy as np


def png_data_uri(image: np.ndarray) -> str:
    """A uint8 BGR image (h, w, 3) as the address of a PNG that holds it."""
    return 'data:image/png;base64,' + base64.b64encode(cv2.imencode('.png', image)[1].tobytes()).decode()
