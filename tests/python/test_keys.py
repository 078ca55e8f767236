"""The whole life of a key through KeyClient."""
import datetime
import unittest

from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.keyvault.keys import KeyClient, KeyRotationLifetimeAction, KeyRotationPolicy, KeyRotationPolicyAction
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from material import CURVES, ec_jwk, ec_public, number, rsa_jwk, rsa_public
from rig import NO_RETRY, POLL, RIG, VAULT, VERSION, credential, crypto, fresh, keys

UTC = datetime.timezone.utc
NOT_BEFORE = datetime.datetime(2020, 9, 13, 12, 26, 40, tzinfo=UTC)
EXPIRES = datetime.datetime(2033, 5, 18, 3, 33, 19, tzinfo=UTC)
PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "k")


class Create(unittest.TestCase):
    def check(self, key, name, key_type, operations):
        self.assertEqual(key.key_type, key_type)
        self.assertEqual(key.name, name)
        self.assertRegex(key.properties.version, VERSION)
        self.assertEqual(key.id, f"{VAULT}/keys/{name}/{key.properties.version}")
        self.assertEqual(sorted(key.key_operations), sorted(operations))
        self.assertEqual(key.properties.vault_url, VAULT)
        self.assertTrue(key.properties.enabled)
        self.assertEqual(key.properties.recoverable_days, 30)
        self.assertEqual(key.properties.recovery_level, "CustomizedRecoverable+Purgeable")
        for member in PRIVATE:
            self.assertIsNone(getattr(key.key, member), f"{member} left the device")

    def test_rsa_keys_have_a_modulus_of_their_size(self):
        for size, hsm in ((2048, False), (2048, True), (3072, True), (4096, False)):
            with self.subTest(size=size, hsm=hsm):
                name = fresh("rsa")
                key = keys().create_rsa_key(name, size=size, hardware_protected=hsm)
                self.check(key, name, "RSA-HSM" if hsm else "RSA", ["decrypt", "encrypt", "sign", "unwrapKey", "verify", "wrapKey"])
                self.assertEqual(rsa_public(key.key).key_size, size)
                self.assertEqual(number(key.key.e), 65537)

    def test_ec_keys_are_points_of_their_curve(self):
        for curve in CURVES:
            for hsm in (False, True):
                with self.subTest(curve=curve, hsm=hsm):
                    name = fresh("ec")
                    key = keys().create_ec_key(name, curve=curve, hardware_protected=hsm)
                    self.check(key, name, "EC-HSM" if hsm else "EC", ["sign", "verify"])
                    self.assertEqual(key.key.crv, curve)
                    self.assertEqual(ec_public(key.key).curve.name, CURVES[curve].name)

    def test_oct_hsm_keys_show_no_material(self):
        for size in (128, 192, 256):
            with self.subTest(size=size):
                name = fresh("oct")
                key = keys().create_oct_key(name, size=size, hardware_protected=True)
                self.check(key, name, "oct-HSM", ["decrypt", "encrypt", "unwrapKey", "wrapKey"])

    def test_attributes_tags_and_operations_are_kept_and_get_returns_what_create_did(self):
        name = fresh("attributes")
        tags = {"app": "orders", 'Ümlaut "x"': "ä\n"}
        made = keys().create_rsa_key(name, size=2048, enabled=False, not_before=NOT_BEFORE, expires_on=EXPIRES, tags=tags,
                                     key_operations=["wrapKey", "unwrapKey"])
        for key in (made, keys().get_key(name), keys().get_key(name, made.properties.version)):
            self.assertEqual(key.id, made.id)
            self.assertEqual(key.key.n, made.key.n)
            self.assertEqual(sorted(key.key_operations), ["unwrapKey", "wrapKey"])
            self.assertFalse(key.properties.enabled)
            self.assertEqual(key.properties.not_before, NOT_BEFORE)
            self.assertEqual(key.properties.expires_on, EXPIRES)
            self.assertEqual(key.properties.tags, tags)
            self.assertEqual(key.properties.created_on, made.properties.created_on)


class ListAndUpdate(unittest.TestCase):
    def test_pages_hold_every_key_once(self):
        client = keys("lister", RIG["other_vault"])
        names = {client.create_oct_key(fresh("page"), hardware_protected=True).name for _ in range(7)}
        pages = [[key.name for key in page] for page in client.list_properties_of_keys(max_page_size=3).by_page()]
        self.assertTrue(all(len(page) <= 3 for page in pages))
        self.assertEqual(sorted(name for page in pages for name in page), sorted(names))

    def test_versions_are_listed_and_each_can_be_read(self):
        name = fresh("versions")
        made = [keys().create_oct_key(name, hardware_protected=True).properties.version]
        made += [keys().rotate_key(name).properties.version for _ in range(2)]
        listed = [item.version for item in keys().list_properties_of_key_versions(name)]
        self.assertEqual(sorted(listed), sorted(made))
        self.assertEqual([keys().get_key(name, version).properties.version for version in made], made)
        self.assertEqual(keys().get_key(name).properties.version, made[-1])

    def test_update_changes_what_it_names_and_nothing_else(self):
        name = fresh("update")
        made = keys().create_rsa_key(name, size=2048, tags={"a": "1"})
        key = keys().update_key_properties(name, expires_on=EXPIRES, key_operations=["verify"])
        self.assertEqual((key.id, key.properties.expires_on, key.key_operations), (made.id, EXPIRES, ["verify"]))
        self.assertEqual(key.properties.tags, {"a": "1"})
        self.assertTrue(key.properties.enabled)
        key = keys().update_key_properties(name, made.properties.version, enabled=False, tags={})
        self.assertEqual((key.properties.enabled, key.properties.tags or {}), (False, {}))
        self.assertEqual(key.properties.expires_on, EXPIRES)


class Rotation(unittest.TestCase):
    def test_rotate_makes_a_version_of_the_same_kind(self):
        for kind, made in (("RSA", keys().create_rsa_key(fresh("rotate"), size=3072, tags={"a": "1"})),
                           ("EC-HSM", keys().create_ec_key(fresh("rotate"), curve="P-384", hardware_protected=True, tags={"a": "1"}))):
            with self.subTest(kind):
                key = keys().rotate_key(made.name)
                self.assertEqual((key.key_type, key.key.crv), (made.key_type, made.key.crv))
                self.assertNotEqual(key.properties.version, made.properties.version)
                self.assertNotEqual((key.key.n, key.key.x), (made.key.n, made.key.x))
                self.assertEqual(len(key.key.n or b""), len(made.key.n or b""))
                self.assertEqual(key.properties.tags, {"a": "1"})

    def test_the_policy_has_a_default_is_replaced_and_gives_new_versions_their_expiry(self):
        name = fresh("policy")
        keys().create_oct_key(name, hardware_protected=True)
        default = keys().get_key_rotation_policy(name)
        self.assertEqual([(a.action.lower(), a.time_before_expiry) for a in default.lifetime_actions], [("notify", "P30D")])
        rotate = KeyRotationLifetimeAction(KeyRotationPolicyAction.rotate, time_after_create="P2M")
        notify = KeyRotationLifetimeAction(KeyRotationPolicyAction.notify, time_before_expiry="P20D")
        policy = keys().update_key_rotation_policy(name, KeyRotationPolicy(), expires_in="P90D", lifetime_actions=[rotate, notify])
        for got in (policy, keys().get_key_rotation_policy(name)):
            self.assertEqual(got.id, f"{VAULT}/keys/{name}/rotationpolicy")
            self.assertEqual(got.expires_in, "P90D")
            actions = {a.action.lower(): (a.time_after_create, a.time_before_expiry) for a in got.lifetime_actions}
            self.assertEqual(actions, {"rotate": ("P2M", None), "notify": (None, "P20D")})
            self.assertIsNotNone(got.created_on)
        rotated = keys().rotate_key(name).properties
        self.assertEqual(rotated.expires_on - rotated.created_on, datetime.timedelta(days=90))
        with self.assertRaises(HttpResponseError) as caught:
            keys().update_key_rotation_policy(name, KeyRotationPolicy(), expires_in="P27D", lifetime_actions=[])
        self.assertEqual(caught.exception.status_code, 400)


class ImportAndBackup(unittest.TestCase):
    def test_imported_keys_keep_their_public_half_and_hide_the_private_one(self):
        private_rsa = rsa.generate_private_key(65537, 2048)
        key = keys().import_key(fresh("import"), rsa_jwk(private_rsa))
        self.assertEqual(rsa_public(key.key).public_numbers(), private_rsa.public_key().public_numbers())
        self.assertTrue(all(getattr(key.key, member) is None for member in PRIVATE))
        for curve, cls in CURVES.items():
            with self.subTest(curve):
                private_ec = ec.generate_private_key(cls())
                key = keys().import_key(fresh("import"), ec_jwk(private_ec, curve), hardware_protected=True)
                self.assertEqual(key.key_type, "EC-HSM")
                self.assertEqual(ec_public(key.key).public_numbers(), private_ec.public_key().public_numbers())
                self.assertIsNone(key.key.d)

    def test_a_key_whose_halves_do_not_fit_is_refused(self):
        private_ec = ec.generate_private_key(ec.SECP256R1())
        jwk = ec_jwk(private_ec, "P-256")
        jwk.d = ec_jwk(ec.generate_private_key(ec.SECP256R1()), "P-256").d
        with self.assertRaises(HttpResponseError) as caught:
            keys().import_key(fresh("import"), jwk)
        self.assertEqual(caught.exception.status_code, 400)

    def test_a_backup_brings_back_every_version_after_a_purge(self):
        name = fresh("backup")
        first = keys().create_rsa_key(name, size=2048, tags={"a": "1"})
        wrapped = crypto(first).wrap_key("RSA-OAEP-256", b"s" * 32).encrypted_key
        second = keys().rotate_key(name)
        blob = keys().backup_key(name)
        self.assertIsInstance(blob, bytes)
        with self.assertRaises(ResourceExistsError):
            keys().restore_key_backup(blob)
        keys().begin_delete_key(name, **POLL).wait()
        keys().purge_deleted_key(name)
        for at in (0, len(blob) // 2, len(blob) - 1):
            with self.subTest(flipped=at), self.assertRaises(HttpResponseError) as caught:
                keys().restore_key_backup(blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1:])
            self.assertEqual(caught.exception.status_code, 400)
        restored = keys().restore_key_backup(blob)
        self.assertEqual((restored.id, restored.properties.tags), (second.id, {"a": "1"}))
        listed = {item.version for item in keys().list_properties_of_key_versions(name)}
        self.assertEqual(listed, {first.properties.version, second.properties.version})
        self.assertEqual(crypto(first).unwrap_key("RSA-OAEP-256", wrapped).key, b"s" * 32)

    def test_a_key_that_lives_in_the_hsm_has_no_backup(self):
        key = keys().create_oct_key(fresh("backup"), hardware_protected=True)
        with self.assertRaises(HttpResponseError) as caught:
            keys().backup_key(key.name)
        self.assertEqual(caught.exception.status_code, 400)


class RandomBytes(unittest.TestCase):
    def test_random_bytes_are_as_many_as_asked_and_never_the_same(self):
        for count in (1, 32, 128):
            self.assertEqual(len(keys().get_random_bytes(count)), count)
        self.assertNotEqual(keys().get_random_bytes(32), keys().get_random_bytes(32))
        with self.assertRaises(HttpResponseError) as caught:
            keys().get_random_bytes(129)
        self.assertEqual(caught.exception.status_code, 400)


class Delete(unittest.TestCase):
    def test_delete_recover_delete_purge(self):
        name = fresh("delete")
        made = keys().create_rsa_key(name, size=2048, tags={"a": "1"})
        deleted = keys().begin_delete_key(name, **POLL).result()
        self.assertEqual(deleted.recovery_id, f"{VAULT}/deletedkeys/{name}")
        self.assertEqual(deleted.scheduled_purge_date - deleted.deleted_date, datetime.timedelta(days=30))
        with self.assertRaises(ResourceNotFoundError):
            keys().get_key(name)
        with self.assertRaises(ResourceExistsError):
            keys().create_rsa_key(name, size=2048)
        self.assertIn(name, [key.name for key in keys().list_deleted_keys()])
        self.assertEqual(keys().get_deleted_key(name).id, made.id)
        poller = keys().begin_recover_deleted_key(name, **POLL)
        poller.wait()
        self.assertEqual(poller.result().id, made.id)
        self.assertEqual(keys().get_key(name).properties.tags, {"a": "1"})
        keys().begin_delete_key(name, **POLL).wait()
        keys().purge_deleted_key(name)
        for look in (keys().get_key, keys().get_deleted_key):
            with self.assertRaises(ResourceNotFoundError):
                look(name)


class Refusals(unittest.TestCase):
    def test_an_unknown_key_is_a_resource_not_found_error(self):
        with self.assertRaises(ResourceNotFoundError) as caught:
            keys().get_key(fresh("none"))
        self.assertEqual(caught.exception.error.code, "KeyNotFound")

    def test_a_reader_may_read_and_not_create(self):
        name = fresh("reader")
        keys().create_oct_key(name, hardware_protected=True)
        self.assertEqual(keys("reader").get_key(name).name, name)
        with self.assertRaises(HttpResponseError) as caught:
            keys("reader").create_oct_key(name, hardware_protected=True)
        self.assertEqual((caught.exception.status_code, caught.exception.error.code), (403, "Forbidden"))

    def test_a_wrong_secret_is_a_client_authentication_error(self):
        client = KeyClient(VAULT, credential("officer", secret="wrong"), **NO_RETRY)
        with self.assertRaises(ClientAuthenticationError) as caught:
            client.get_key("any")
        self.assertIn("AADSTS7000215", str(caught.exception))
        self.assertNotIn("wrong", str(caught.exception))

    def test_the_directory_adfs_is_the_principals_own(self):
        client = KeyClient(VAULT, credential("officer", tenant_id="adfs"), **NO_RETRY)
        self.assertRegex(client.create_oct_key(fresh("adfs"), hardware_protected=True).id, VAULT)

    def test_a_key_is_not_released(self):
        name = fresh("release")
        keys().create_rsa_key(name, size=2048)
        with self.assertRaises(HttpResponseError) as caught:
            keys().release_key(name, "not an attestation")
        self.assertEqual(caught.exception.status_code, 400)
        self.assertIn("Release is not supported", caught.exception.message)
