"""Class labels for real photographs from DeepLabV3-MobileNetV2 (21 VOC classes, int8 TFLite), where nobody has labelled them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

INPUT_SIZE = 513
# VOC index → what an indoor instance of it is called; the other VOC classes are not trusted indoors.
INDOOR = {
    5: {"caption": "a bottle", "name": "bottle", "nyu40": "otherprop"},
    9: {"caption": "a chair", "name": "chair", "nyu40": "chair"},
    11: {"caption": "a dining table", "name": "table", "nyu40": "table"},
    16: {"caption": "a potted plant", "name": "plant", "nyu40": "otherprop"},
    18: {"caption": "a sofa", "name": "sofa", "nyu40": "sofa"},
    20: {"caption": "a computer monitor", "name": "monitor", "nyu40": "television"},
}
BORDER = 5  # pixels at 513 × 513 next to a class boundary that are left unlabelled
LEAST_SHARE = 0.004  # of the image: smaller regions are mostly wrong


class DeepLabVoc:
    """Callable: (H, W, 3) uint8 RGB → (H, W) uint16 VOC class of the trusted indoor classes, 0 elsewhere."""

    def __init__(self, model: Path) -> None:
        """model: a `deeplabv3_mnv2_pascal_quant*.tflite`. Raises ImportError where ai-edge-litert is missing."""
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise ImportError("pseudo-labels need LiteRT: pip install ai-edge-litert") from error
        self.interpreter = Interpreter(str(model), num_threads=2)
        self.interpreter.allocate_tensors()
        self.input = self.interpreter.get_input_details()[0]["index"]
        self.output = self.interpreter.get_output_details()[0]["index"]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        self.interpreter.set_tensor(self.input, cv2.resize(image, (INPUT_SIZE, INPUT_SIZE))[None])
        self.interpreter.invoke()
        classes = self.interpreter.get_tensor(self.output)[0].astype(np.uint8)
        kernel = np.ones((2 * BORDER + 1,) * 2, np.uint8)
        sure = np.where(cv2.erode(classes, kernel) == cv2.dilate(classes, kernel), classes, 0)
        for index in np.unique(sure):
            if index not in INDOOR or (classes == index).mean() < LEAST_SHARE:
                sure[sure == index] = 0
        return cv2.resize(sure, image.shape[1::-1], interpolation=cv2.INTER_NEAREST).astype(np.uint16)
