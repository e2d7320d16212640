"""A separate 2D model as the semantic half of a two-model system: DeepLabV3's 21 VOC classes, spoken as captions."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sab3r_ros.errors import CheckpointError
from sab3r_ros.querying.text import TextEncoder

# Background is most of a room and no class of VOC. It says "wall", the commonest of what it may be: silence would only cost.
VOC = (
    "wall", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "dining table", "dog",
    "horse", "motorbike", "person", "potted plant", "sheep", "sofa", "train", "television",
)  # fmt: skip
INDOOR = ("chair", "table", "sofa", "person", "television")  # what it knows of NYU40
CELL = 4  # pixels a side that share one vector, as the embedded network has it


class DeepLabCaptions:
    """Images (1, 3, H, W) in −1..1 → (1, dim, H / 4, W / 4): the mean caption vector of a cell's classes.

    Raises ImportError where ai-edge-litert is missing, CheckpointError if the file cannot be read.
    """

    def __init__(self, model: Path, text: TextEncoder) -> None:
        """model: a `deeplabv3_*_pascal_quant.tflite`, whose output is the class map."""
        try:
            from ai_edge_litert.interpreter import Interpreter, OpResolverType
        except ImportError as error:
            raise ImportError("the DeepLab row needs LiteRT: pip install ai-edge-litert") from error
        try:
            self.interpreter = Interpreter(str(model), num_threads=torch.get_num_threads())
            plain = Interpreter(
                str(model), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            )
        except (ValueError, OSError) as error:
            raise CheckpointError(f"{model} is not a TFLite model that can be read: {error}") from error
        self.interpreter.allocate_tensors()
        plain.allocate_tensors()
        self.parameters, self.flops = cost_of(plain)
        self.input = self.interpreter.get_input_details()[0]
        self.output = self.interpreter.get_output_details()[0]["index"]
        self.captions = torch.from_numpy(np.asarray(text.encode(list(VOC)), np.float32))

    def class_map(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB → (H, W) uint8 VOC class."""
        _, h, w, _ = self.input["shape"]
        self.interpreter.set_tensor(self.input["index"], cv2.resize(image, (int(w), int(h)))[None])
        self.interpreter.invoke()
        classes = self.interpreter.get_tensor(self.output)[0].astype(np.uint8)
        return cv2.resize(classes, image.shape[1::-1], interpolation=cv2.INTER_NEAREST)

    def __call__(self, images: Tensor) -> Tensor:
        image = images[0].permute(1, 2, 0).add(1).mul(127.5).round().byte().numpy()
        classes = torch.from_numpy(self.class_map(image)).long()
        share = F.avg_pool2d(F.one_hot(classes, len(VOC)).permute(2, 0, 1)[None].float(), CELL)
        return torch.einsum("bchw,cd->bdhw", share, self.captions)


def cost_of(interpreter: object) -> tuple[int, int]:
    """Parameters and FLOPs (two a multiply-add, as torch's counter has it) of a TFLite model's convolutions."""
    tensors = {t["index"]: t["shape"] for t in interpreter.get_tensor_details()}
    parameters = flops = 0
    for op in interpreter._get_ops_details():
        if op["op_name"] not in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            continue
        weights, out = tensors[op["inputs"][1]], tensors[op["outputs"][0]]
        size = int(np.prod(weights))
        biases = [int(np.prod(tensors[i])) for i in op["inputs"][2:] if i >= 0]
        parameters += size + sum(biases)
        # A weight meets each place of the output once: (out, kh, kw, in), depthwise (1, kh, kw, out), dense (out, in).
        flops += 2 * size * (int(out[1]) * int(out[2]) if len(out) == 4 else 1)
    return parameters, flops
