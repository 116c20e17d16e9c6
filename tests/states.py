"What a checkpoint holds, as one flat list: for tests that compare two of them."
import torch


def flat(state, name=''):
    "Every tensor of a nested state with its name"
    if torch.is_tensor(state):
        yield name, state
    elif isinstance(state, (dict, list, tuple)):
        for k, v in state.items() if isinstance(state, dict) else enumerate(state):
            yield from flat(v, f'{name}.{k}')
