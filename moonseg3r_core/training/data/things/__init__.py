"""More kinds of things than furnished rooms have, for trainings alone: makers by the place where a thing belongs.

A maker takes (rng, palette) and returns a Piece, one object; a group's maker returns several that share one frame.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from moonseg3r_core.synthetic.palette import Palette
from moonseg3r_core.synthetic.pieces import Piece
from moonseg3r_core.training.data.things import (
    cloth,
    containers,
    cupboards,
    desk,
    dishes,
    electronics,
    furnishings,
    groups,
    papers,
    plants,
    tools,
    toys,
    walls,
)

Maker = Callable[[np.random.Generator, Palette], Piece]

ON_TABLES: tuple[Maker, ...] = (
    papers.make_paper_pile, papers.make_magazine, papers.make_newspaper, papers.make_open_book, papers.make_notebook,
    papers.make_envelope, papers.make_packet, papers.make_parcel, papers.make_milk_carton, papers.make_binder,
    papers.make_photo_frame, papers.make_tissue_box, papers.make_trash_paper,
    dishes.make_plate, dishes.make_plate_pile, dishes.make_wine_glass, dishes.make_tumbler, dishes.make_fork,
    dishes.make_knife, dishes.make_spoon, dishes.make_pot, dishes.make_pan, dishes.make_kettle, dishes.make_jug,
    dishes.make_cutting_board, dishes.make_tray, dishes.make_coffee_machine, dishes.make_microwave,
    containers.make_wine_bottle, containers.make_squeeze_bottle, containers.make_spray_bottle, containers.make_pump_bottle,
    containers.make_jar, containers.make_can, containers.make_canister, containers.make_fruit, containers.make_banana,
    containers.make_bread, containers.make_bag_of_food, containers.make_open_bowl, containers.make_candle,
    cloth.make_clothes_pile, cloth.make_crumpled_cloth, cloth.make_towel_roll, cloth.make_hat, cloth.make_yarn,
    cloth.make_handbag,
    electronics.make_keyboard, electronics.make_mouse, electronics.make_phone, electronics.make_remote, desk.make_pen, desk.make_pen_cup,
    electronics.make_headphones, electronics.make_speaker, electronics.make_table_fan, desk.make_power_strip, desk.make_cord, desk.make_coil,
    desk.make_tape, desk.make_stapler, electronics.make_printer, electronics.make_game_pad, desk.make_desk_lamp, electronics.make_device,
    toys.make_teddy, toys.make_toy_car, toys.make_block, toys.make_duck, tools.make_hammer, tools.make_screwdriver,
    tools.make_pliers, tools.make_drill, tools.make_torch, tools.make_brush, tools.make_paper_roll, toys.make_basket,
    tools.make_watering_can, toys.make_globe, toys.make_figurine,
    plants.make_cactus, plants.make_grass_plant, plants.make_flowers, plants.make_herb, plants.make_hanging_plant,
)  # fmt: skip
ON_SEATS: tuple[Maker, ...] = (
    cloth.make_bolster, cloth.make_leaning_cushion, cloth.make_blanket, cloth.make_crumpled_cloth, cloth.make_clothes_pile,
    cloth.make_handbag, cloth.make_backpack, papers.make_magazine, papers.make_open_book, papers.make_newspaper, electronics.make_remote,
    electronics.make_phone, toys.make_teddy, cloth.make_towel_roll, cloth.make_hat, electronics.make_game_pad,
)  # fmt: skip
ON_FLOORS: tuple[Maker, ...] = (
    cloth.make_shoe, cloth.make_slippers, cloth.make_backpack, cloth.make_handbag, cloth.make_crumpled_cloth, cloth.make_pouffe,
    cloth.make_umbrella, cloth.make_blanket, cloth.make_towel_roll, desk.make_power_strip, desk.make_cord, desk.make_coil,
    electronics.make_speaker, tools.make_toolbox, tools.make_bucket, toys.make_basket, tools.make_dumbbell, tools.make_watering_can,
    toys.make_toy_car, toys.make_teddy, toys.make_block, toys.make_duck, papers.make_parcel, papers.make_newspaper,
    papers.make_trash_paper, plants.make_small_tree, plants.make_grass_plant, furnishings.make_laundry_basket,
    furnishings.make_pedal_bin, furnishings.make_vacuum, furnishings.make_side_table, furnishings.make_slat_chair,
    furnishings.make_folding_chair, furnishings.make_ladder,
)  # fmt: skip
AT_WALLS: tuple[Maker, ...] = (
    cupboards.make_chest, cupboards.make_cupboard, cupboards.make_counter, cupboards.make_counter,
    furnishings.make_clothes_rack, furnishings.make_floor_mirror, furnishings.make_oil_radiator, plants.make_small_tree,
    furnishings.make_slat_chair,
)  # fmt: skip
ON_WALLS: tuple[Maker, ...] = (
    walls.make_poster, walls.make_poster, walls.make_calendar, walls.make_mirror, walls.make_socket, walls.make_blind,
    walls.make_curtain, walls.make_doorway, walls.make_towel_rail, walls.make_coat, walls.make_notice_board,
    walls.make_wall_cupboard, walls.make_vent, walls.make_pipe,
)  # fmt: skip
GROUPS: tuple[Callable[[np.random.Generator, Palette], groups.Group], ...] = (
    groups.make_book_row, groups.make_book_row, groups.make_book_stack, groups.make_fruit_bowl, groups.make_place_setting,
    groups.make_drinks_tray, groups.make_keyboard_and_mouse, groups.make_box_pile, groups.make_tower,
)  # fmt: skip
FLOOR_GROUPS: tuple[Callable[[np.random.Generator, Palette], groups.Group], ...] = (
    groups.make_shoe_pair, groups.make_box_pile, groups.make_book_stack, groups.make_tower, groups.make_cushion_pile,
)  # fmt: skip
WALL_HEIGHTS: Mapping[str, tuple[float, float]] = {
    "door": (0.0, 0.0), "curtain": (0.02, 0.4), "socket": (0.2, 1.2), "wall cupboard": (1.3, 1.5), "coat": (0.5, 1.0),
    "pipe": (0.05, 1.4),
}  # fmt: skip
"""The heights in metres between which a thing on a wall begins; others begin between 0.7 and 1.6."""
