"""The same life cycle through the asynchronous clients, and many calls at once."""
import asyncio
import hashlib
import os
import unittest

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.keyvault.keys import KeyRotationLifetimeAction, KeyRotationPolicy, KeyRotationPolicyAction
from azure.keyvault.keys.crypto.aio import CryptographyClient
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives import hashes

from material import ec_jwk, ec_public, rsa_public
from rig import NO_RETRY, POLL, VAULT, aio_credential, aio_keys, fresh

AT_ONCE = 24


class Aio(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.credential = await self.enterAsyncContext(aio_credential())
        self.keys = await self.enterAsyncContext(aio_keys(self.credential))

    async def crypto(self, key):
        return await self.enterAsyncContext(CryptographyClient(key, self.credential, **NO_RETRY))

    async def delete(self, name):
        await self.keys.delete_key(name, **POLL)

    async def test_create_get_list_update_rotate(self):
        name = fresh("aio")
        made = await self.keys.create_rsa_key(name, size=2048, tags={"a": "1"})
        self.assertEqual(rsa_public(made.key).key_size, 2048)
        self.assertEqual((await self.keys.get_key(name, made.properties.version)).id, made.id)
        self.assertIn(name, [key.name async for key in self.keys.list_properties_of_keys()])
        updated = await self.keys.update_key_properties(name, enabled=False)
        self.assertEqual((updated.properties.enabled, updated.properties.tags), (False, {"a": "1"}))
        rotated = await self.keys.rotate_key(name)
        listed = {item.version async for item in self.keys.list_properties_of_key_versions(name)}
        self.assertEqual(listed, {made.properties.version, rotated.properties.version})

    async def test_delete_recover_delete_purge(self):
        name = fresh("aio")
        made = await self.keys.create_oct_key(name, hardware_protected=True)
        await self.delete(name)
        with self.assertRaises(ResourceNotFoundError):
            await self.keys.get_key(name)
        self.assertIn(name, [key.name async for key in self.keys.list_deleted_keys()])
        self.assertEqual((await self.keys.get_deleted_key(name)).id, made.id)
        self.assertEqual((await self.keys.recover_deleted_key(name, **POLL)).id, made.id)
        await self.delete(name)
        await self.keys.purge_deleted_key(name)
        with self.assertRaises(ResourceNotFoundError):
            await self.keys.get_deleted_key(name)

    async def test_the_directory_adfs_is_the_principals_own(self):
        async with aio_credential(tenant_id="adfs") as cred, aio_keys(cred) as client:
            self.assertRegex((await client.create_oct_key(fresh("adfs"), hardware_protected=True)).id, VAULT)

    async def test_many_wraps_at_once_each_get_their_own_answer(self):
        key = await self.keys.create_oct_key(fresh("aio"), size=256, hardware_protected=True)
        client = await self.crypto(key)
        secrets = [os.urandom(32) for _ in range(AT_ONCE)]
        wrapped = await asyncio.gather(*(client.wrap_key("A256KW", secret) for secret in secrets))
        unwrapped = await asyncio.gather(*(client.unwrap_key("A256KW", result.encrypted_key) for result in wrapped))
        self.assertEqual([result.key for result in unwrapped], secrets)

    async def test_rsa_wrap_and_unwrap(self):
        client = await self.crypto(await self.keys.create_rsa_key(fresh("aio"), size=2048, hardware_protected=True))
        for alg in ("RSA-OAEP", "RSA-OAEP-256"):
            wrapped = await client.wrap_key(alg, b"s" * 32)
            self.assertEqual((await client.unwrap_key(alg, wrapped.encrypted_key)).key, b"s" * 32)

    async def test_encrypt_and_sign(self):
        aes = await self.crypto(await self.keys.create_oct_key(fresh("aio"), size=256, hardware_protected=True))
        sealed = await aes.encrypt("A256GCM", b"text", additional_authenticated_data=b"aad")
        opened = await aes.decrypt("A256GCM", sealed.ciphertext, iv=sealed.iv, authentication_tag=sealed.tag,
                                   additional_authenticated_data=b"aad")
        self.assertEqual(opened.plaintext, b"text")
        key = await self.keys.create_ec_key(fresh("aio"), curve="P-256", hardware_protected=True)
        signer, digest = await self.crypto(key), hashlib.sha256(b"text").digest()
        signature = (await signer.sign("ES256", digest)).signature
        der = utils.encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
        ec_public(key.key).verify(der, digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))
        self.assertTrue((await signer.verify("ES256", digest, signature)).is_valid)

    async def test_rotation_policy(self):
        name = fresh("aio")
        await self.keys.create_oct_key(name, hardware_protected=True)
        rotate = KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_after_create="P2M")
        await self.keys.update_key_rotation_policy(name, KeyRotationPolicy(), expires_in="P90D", lifetime_actions=[rotate])
        policy = await self.keys.get_key_rotation_policy(name)
        self.assertEqual((policy.id, policy.expires_in), (f"{VAULT}/keys/{name}/rotationpolicy", "P90D"))
        self.assertEqual({a.action.lower() for a in policy.lifetime_actions}, {"rotate", "notify"})

    async def test_import_backup_restore(self):
        name = fresh("aio")
        private = ec.generate_private_key(ec.SECP384R1())
        made = await self.keys.import_key(name, ec_jwk(private, "P-384"))
        self.assertEqual(ec_public(made.key).public_numbers(), private.public_key().public_numbers())
        blob = await self.keys.backup_key(name)
        with self.assertRaises(ResourceExistsError):
            await self.keys.restore_key_backup(blob)
        await self.delete(name)
        await self.keys.purge_deleted_key(name)
        self.assertEqual((await self.keys.restore_key_backup(blob)).id, made.id)

    async def test_random_bytes(self):
        self.assertEqual(len(await self.keys.get_random_bytes(32)), 32)
        with self.assertRaises(HttpResponseError):
            await self.keys.get_random_bytes(129)
