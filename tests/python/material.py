"""Between JSON web keys and the keys of python3-cryptography, which is the independent implementation here."""
from azure.keyvault.keys import JsonWebKey
from cryptography.hazmat.primitives.asymmetric import ec, rsa

CURVES = {"P-256": ec.SECP256R1, "P-256K": ec.SECP256K1, "P-384": ec.SECP384R1, "P-521": ec.SECP521R1}


def number(data):
    return int.from_bytes(data, "big")


def octets(value, length=None):
    return value.to_bytes(length or (value.bit_length() + 7) // 8, "big")


def coordinate_len(curve):
    return (CURVES[curve]().key_size + 7) // 8


def rsa_public(jwk):
    return rsa.RSAPublicNumbers(number(jwk.e), number(jwk.n)).public_key()


def ec_public(jwk):
    """Fails unless the point is on the curve."""
    return ec.EllipticCurvePublicNumbers(number(jwk.x), number(jwk.y), CURVES[jwk.crv]()).public_key()


def rsa_jwk(private, kty="RSA"):
    n = private.private_numbers()
    return JsonWebKey(kty=kty, key_ops=["encrypt", "decrypt", "sign", "verify", "wrapKey", "unwrapKey"], n=octets(n.public_numbers.n),
                      e=octets(n.public_numbers.e), d=octets(n.d), p=octets(n.p), q=octets(n.q), dp=octets(n.dmp1), dq=octets(n.dmq1),
                      qi=octets(n.iqmp))


def ec_jwk(private, curve, kty="EC"):
    n = private.private_numbers()
    size = coordinate_len(curve)
    return JsonWebKey(kty=kty, key_ops=["sign", "verify"], crv=curve, x=octets(n.public_numbers.x, size),
                      y=octets(n.public_numbers.y, size), d=octets(n.private_value, size))


def oct_jwk(material):
    return JsonWebKey(kty="oct-HSM", key_ops=["encrypt", "decrypt", "wrapKey", "unwrapKey"], k=material)
