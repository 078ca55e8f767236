"""CryptographyClient against python3-cryptography, in both directions: made there and used here, made here and used there."""
import hashlib
import os
import unittest

from azure.core.exceptions import HttpResponseError
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, keywrap
from cryptography.hazmat.primitives import padding as block_padding
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from material import CURVES, coordinate_len, ec_jwk, ec_public, number, oct_jwk, octets, rsa_jwk, rsa_public
from rig import crypto, fresh, keys, remote

HASHES = {"256": hashes.SHA256, "384": hashes.SHA384, "512": hashes.SHA512}
ES = {"P-256": ("ES256", "256"), "P-256K": ("ES256K", "256"), "P-384": ("ES384", "384"), "P-521": ("ES512", "512")}
RSA_CIPHERS = {
    "RSA-OAEP": padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None),
    "RSA-OAEP-256": padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None),
    "RSA1_5": padding.PKCS1v15(),
}
TEXT = b"forty-two bytes of text, not one more here"
IV = bytes(range(16))


def digest_of(name):
    return hashlib.new(f"sha{name}", TEXT).digest()


def rsa_signature_padding(alg, sha):
    return padding.PSS(padding.MGF1(sha()), sha.digest_size) if alg.startswith("PS") else padding.PKCS1v15()


def der(signature):
    half = len(signature) // 2
    return utils.encode_dss_signature(number(signature[:half]), number(signature[half:]))


def raw(signature, size):
    return b"".join(octets(part, size) for part in utils.decode_dss_signature(signature))


def flipped(data):
    return data[:-1] + bytes([data[-1] ^ 1])


class Rsa(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = keys()
        cls.made = cls.client.create_rsa_key(fresh("rsa"), size=2048)
        cls.public = rsa_public(cls.made.key)
        cls.private = rsa.generate_private_key(65537, 2048)

    def imported(self):
        return self.client.import_key(fresh("rsa"), rsa_jwk(self.private))

    def test_what_is_wrapped_there_is_unwrapped_here(self):
        for alg, scheme in RSA_CIPHERS.items():
            with self.subTest(alg):
                secret = os.urandom(32)
                self.assertEqual(crypto(self.made).unwrap_key(alg, self.public.encrypt(secret, scheme)).key, secret)
                by_client = crypto(self.made).wrap_key(alg, secret)
                self.assertEqual(crypto(self.made.id).unwrap_key(alg, by_client.encrypted_key).key, secret)
                by_server = remote(self.client, self.made, "wrapkey", alg=alg, value=secret)
                result = crypto(self.made).unwrap_key(alg, by_server)
                self.assertEqual((result.key, result.key_id, result.algorithm), (secret, self.made.id, alg))

    def test_what_is_encrypted_there_is_decrypted_here(self):
        for alg, scheme in RSA_CIPHERS.items():
            with self.subTest(alg):
                self.assertEqual(crypto(self.made).decrypt(alg, self.public.encrypt(TEXT, scheme)).plaintext, TEXT)
                self.assertEqual(crypto(self.made).decrypt(alg, crypto(self.made).encrypt(alg, TEXT).ciphertext).plaintext, TEXT)

    def test_a_flipped_ciphertext_is_refused(self):
        for alg in ("RSA-OAEP", "RSA-OAEP-256"):
            with self.subTest(alg), self.assertRaises(HttpResponseError) as caught:
                crypto(self.made).unwrap_key(alg, flipped(self.public.encrypt(TEXT, RSA_CIPHERS[alg])))
            self.assertEqual(caught.exception.status_code, 400)

    def test_what_is_encrypted_here_is_decrypted_there(self):
        key = self.imported()
        for alg, scheme in RSA_CIPHERS.items():
            for operation in ("encrypt", "wrapkey"):
                with self.subTest(alg, operation=operation):
                    self.assertEqual(self.private.decrypt(remote(self.client, key, operation, alg=alg, value=TEXT), scheme), TEXT)

    def test_signatures_verify_there_and_here(self):
        for alg in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"):
            with self.subTest(alg):
                sha, digest = HASHES[alg[2:]], digest_of(alg[2:])
                signature = crypto(self.made).sign(alg, digest).signature
                self.public.verify(signature, digest, rsa_signature_padding(alg, sha), utils.Prehashed(sha()))
                self.assertTrue(crypto(self.made).verify(alg, digest, signature).is_valid)
                self.assertIs(remote(self.client, self.made, "verify", alg=alg, digest=digest, value=signature), True)
                self.assertIs(remote(self.client, self.made, "verify", alg=alg, digest=digest, value=flipped(signature)), False)
                with self.assertRaises(InvalidSignature):
                    self.public.verify(flipped(signature), digest, rsa_signature_padding(alg, sha), utils.Prehashed(sha()))

    def test_signatures_made_there_verify_here(self):
        key = self.imported()
        for alg in ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"):
            with self.subTest(alg):
                sha, digest = HASHES[alg[2:]], digest_of(alg[2:])
                signature = self.private.sign(digest, rsa_signature_padding(alg, sha), utils.Prehashed(sha()))
                self.assertIs(remote(self.client, key, "verify", alg=alg, digest=digest, value=signature), True)
                self.assertIs(remote(self.client, key, "verify", alg=alg, digest=flipped(digest), value=signature), False)


class Ec(unittest.TestCase):
    def test_signatures_verify_there_and_here(self):
        client = keys()
        for curve, (alg, sha) in ES.items():
            with self.subTest(curve):
                key, digest = client.create_ec_key(fresh("ec"), curve=curve, hardware_protected=True), digest_of(sha)
                signature = crypto(key).sign(alg, digest).signature
                self.assertEqual(len(signature), 2 * coordinate_len(curve))
                ec_public(key.key).verify(der(signature), digest, ec.ECDSA(utils.Prehashed(HASHES[sha]())))
                self.assertTrue(crypto(key).verify(alg, digest, signature).is_valid)
                self.assertIs(remote(client, key, "verify", alg=alg, digest=digest, value=signature), True)
                self.assertIs(remote(client, key, "verify", alg=alg, digest=digest, value=flipped(signature)), False)

    def test_signatures_made_there_verify_here_and_imported_keys_sign(self):
        client = keys()
        for curve, (alg, sha) in ES.items():
            with self.subTest(curve):
                private, digest = ec.generate_private_key(CURVES[curve]()), digest_of(sha)
                key = client.import_key(fresh("ec"), ec_jwk(private, curve))
                signature = raw(private.sign(digest, ec.ECDSA(utils.Prehashed(HASHES[sha]()))), coordinate_len(curve))
                self.assertIs(remote(client, key, "verify", alg=alg, digest=digest, value=signature), True)
                private.public_key().verify(der(crypto(key).sign(alg, digest).signature), digest, ec.ECDSA(utils.Prehashed(HASHES[sha]())))


class Oct(unittest.TestCase):
    """Every key is imported, so that the other side has it too."""

    def each(self, form):
        client = keys()
        for size in (128, 192, 256):
            material = os.urandom(size // 8)
            key = client.import_key(fresh("oct"), oct_jwk(material), hardware_protected=True)
            self.assertIsNone(key.key.k)
            yield form.format(size), material, crypto(key)

    def test_wrapped_keys_go_both_ways(self):
        for alg, material, client in self.each("A{}KW"):
            secret = os.urandom(32)
            self.assertEqual(keywrap.aes_key_unwrap(material, client.wrap_key(alg, secret).encrypted_key), secret)
            self.assertEqual(client.unwrap_key(alg, keywrap.aes_key_wrap(material, secret)).key, secret)
            with self.assertRaises(HttpResponseError):
                client.unwrap_key(alg, flipped(keywrap.aes_key_wrap(material, secret)))

    def test_gcm_goes_both_ways_with_a_nonce_of_the_server(self):
        for alg, material, client in self.each("A{}GCM"):
            done = client.encrypt(alg, TEXT, additional_authenticated_data=b"aad")
            again = client.encrypt(alg, TEXT, additional_authenticated_data=b"aad")
            self.assertEqual((len(done.iv), len(done.tag), len(done.ciphertext)), (12, 16, len(TEXT)))
            self.assertNotEqual(done.iv, again.iv)
            self.assertEqual(AESGCM(material).decrypt(done.iv, done.ciphertext + done.tag, b"aad"), TEXT)
            sealed = AESGCM(material).encrypt(IV[:12], TEXT, b"aad")
            parts = {"iv": IV[:12], "authentication_tag": sealed[-16:], "additional_authenticated_data": b"aad"}
            self.assertEqual(client.decrypt(alg, sealed[:-16], **parts).plaintext, TEXT)
            with self.assertRaises(HttpResponseError) as caught:
                client.decrypt(alg, sealed[:-16], **{**parts, "additional_authenticated_data": b"other"})
            self.assertEqual(caught.exception.status_code, 400)

    def test_cbc_goes_both_ways(self):
        for alg, material, client in self.each("A{}CBC"):
            text = TEXT[:32]
            cipher = Cipher(algorithms.AES(material), modes.CBC(IV))
            encryptor = cipher.encryptor()
            expected = encryptor.update(text) + encryptor.finalize()
            self.assertEqual(client.encrypt(alg, text, iv=IV).ciphertext, expected)
            self.assertEqual(client.decrypt(alg, expected, iv=IV).plaintext, text)

    def test_padded_cbc_goes_both_ways(self):
        for alg, material, client in self.each("A{}CBCPAD"):
            padder = block_padding.PKCS7(128).padder()
            encryptor = Cipher(algorithms.AES(material), modes.CBC(IV)).encryptor()
            expected = encryptor.update(padder.update(TEXT) + padder.finalize()) + encryptor.finalize()
            self.assertEqual(client.encrypt(alg, TEXT, iv=IV).ciphertext, expected)
            self.assertEqual(client.decrypt(alg, expected, iv=IV).plaintext, TEXT)
