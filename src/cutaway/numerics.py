"""Array types and the few numerical functions that several rooms share."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
