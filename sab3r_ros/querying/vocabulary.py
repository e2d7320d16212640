"""What a voxel may be instead of what was asked for: the phrases that a query competes with."""

CANONICAL = ("object", "things", "stuff", "texture")  # LERF's: what anything is
BACKGROUND = ("wall", "floor", "ceiling", "door", "window")  # most of a room

INDOOR = tuple(
    """
    air conditioner, apple, aquarium, armchair, backpack, bag, ball, banana, basket, bathtub, bean bag, bed,
    bedside table, bench, bicycle, bin, blackboard, blanket, blinds, board game, book, bookcase, bottle,
    bowl, box, bread, broom, bucket, cabinet, cable, calendar, camera, candle, cardboard box, carpet, cat,
    ceiling fan, chair, chandelier, chest of drawers, clock, clothes, coat rack, coffee machine, coffee
    table, computer monitor, computer mouse, computer tower, cooker, counter, crib, cup, cupboard, curtain,
    cushion, desk, desk lamp, dining table, dishwasher, dog, doll, dresser, drum, easel, exercise machine,
    exit sign, extractor hood, fan, fire extinguisher, fireplace, flag, flower, flower pot, fork, fridge,
    fruit, garden gnome, gas heater, glass, globe, guitar, hair dryer, handbag, hanger, hat, headphones,
    helmet, iron, ironing board, jacket, jar, kettle, keyboard, knife, ladder, lamp, laptop, lavatory, light
    switch, magazine, mattress, microwave, mirror, mug, newspaper, office chair, ottoman, oven, painting,
    pan, paper, pen, person, phone, photo frame, piano, picture, pillow, pipe, plate, plush toy, poster, pot,
    potted plant, power socket, printer, projector, radiator, radio, rope, rug, saucepan, scale, scissors,
    screen, sewing machine, shelf, shoe, shower, sink, skateboard, sofa, speaker, spoon, staircase, statue,
    stool, stove, suitcase, table, table lamp, tap, teapot, teddy bear, telephone, television, tennis racket,
    tissue box, toaster, toilet, toilet paper, tool, towel, toy car, treadmill, tripod, tv stand, umbrella,
    vacuum cleaner, vase, violin, wardrobe, washing machine, watering can, whiteboard, wine bottle
    """.replace("\n", " ").split(",")
)
INDOOR = tuple(" ".join(word.split()) for word in INDOOR)
