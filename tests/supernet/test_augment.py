"""Changed images keep what their label is about."""

import torch

from supernet.augment import Augmentation, augment


def test_augmentation_shifts_flips_and_erases_nothing_else() -> None:
    images = torch.zeros(64, 1, 16, 16, dtype=torch.uint8)
    images[:, 0, 8, 4] = 255
    draw = torch.Generator().manual_seed(0)
    moved = augment(images, Augmentation(shift_px=2, flip=False, erase=0.0), draw)
    places = moved.flatten(1).argmax(dim=1)
    assert set((places // 16).tolist()) == {6, 7, 8, 9, 10}
    assert set((places % 16).tolist()) == {2, 3, 4, 5, 6}
    same = augment(images, Augmentation(shift_px=0, flip=False, erase=0.0), draw)
    assert torch.equal(same, images.float())
    flipped = augment(images, Augmentation(shift_px=0, flip=True, erase=0.0), draw)
    assert set((flipped.flatten(1).argmax(dim=1) % 16).tolist()) == {4, 11}
    erased = augment(torch.randint(0, 256, (64, 1, 16, 16)).byte(), Augmentation(0, False, 1.0), draw)
    assert erased.shape == (64, 1, 16, 16)


def test_zooming_shows_a_part_at_full_size() -> None:
    images = torch.zeros(200, 1, 32, 32, dtype=torch.uint8)
    images[:, :, :, 16:] = 255
    still = Augmentation(shift_px=0, flip=False, erase=0.0)
    draw = torch.Generator().manual_seed(0)
    zoomed = augment(images, Augmentation(0, False, 0.0, zoom=0.7), draw)
    assert zoomed.shape == images.shape
    # How much of the picture is bright follows from where the crop lies and how large it is.
    share = zoomed.mean(dim=(1, 2, 3)) / 255
    assert share.min() < 0.35
    assert share.max() > 0.65
    assert abs(float(share.mean()) - 0.5) < 0.05
    assert torch.equal(augment(images, still, draw), images.float())


def test_colors_change_within_their_bounds_and_shapes_stay() -> None:
    draw = torch.Generator().manual_seed(0)
    images = torch.full((300, 3, 8, 8), 100, dtype=torch.uint8)
    changed = augment(images, Augmentation(0, False, 0.0, color=0.4), draw)
    level = changed.mean(dim=(1, 2, 3))
    assert 60 <= float(level.min()) < 70
    assert 130 < float(level.max()) <= 140
    red = torch.zeros(300, 3, 8, 8, dtype=torch.uint8)
    red[:, 0] = 120
    recolored = augment(red, Augmentation(0, False, 0.0, color=0.4), draw)
    assert (recolored[:, 0] > recolored[:, 1]).all()
