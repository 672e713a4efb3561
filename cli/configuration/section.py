"""The base class of all sections of the configuration, and the types of their values."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Bytes = Annotated[int, Field(gt=0)]
Name = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """A section of the configuration. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
