from work import HEAVY, LIGHT, burn


def heavy():
    burn(HEAVY)


def light():
    burn(LIGHT)
