// RSA keys that are wrong on purpose: consistent in all but one thing, so that a test knows which check refuses them.
import { checkPrimeSync, generatePrimeSync, randomBytes } from "node:crypto";

const ROUNDS = 10;
const number = (bytes) => BigInt(`0x${Buffer.from(bytes).toString("hex")}`);

/** base64url of an unsigned integer, without leading zeros or of a fixed length. */
export function integer(value, length) {
	const hex = value.toString(16);
	const text = length === undefined ? hex.padStart(hex.length + (hex.length & 1), "0") : hex.padStart(2 * length, "0");
	return Buffer.from(text, "hex").toString("base64url");
}
export const integerOf = (text) => number(Buffer.from(text, "base64url"));

function gcd(a, b) {
	while (b !== 0n)
		[a, b] = [b, a % b];
	return a;
}

/** a^-1 mod n */
export function inverse(a, n) {
	let [r, next, s, t] = [n, a % n, 0n, 1n];
	while (next !== 0n) {
		const q = r / next;
		[r, next] = [next, r - q * next];
		[s, t] = [t, s - q * t];
	}
	if (r !== 1n)
		throw new RangeError("no inverse");
	return ((s % n) + n) % n;
}

/** A consistent private JWK of two numbers that are (or are taken for) primes. @param lambda  for numbers that are not */
export function rsaJwk(p, q, e = 65537n, lambda = ((p - 1n) * (q - 1n)) / gcd(p - 1n, q - 1n)) {
	const d = inverse(e, lambda);
	const members = { n: p * q, e, d, p, q, dp: d % (p - 1n), dq: d % (q - 1n), qi: inverse(q, p) };
	return { kty: "RSA", ...Object.fromEntries(Object.entries(members).map(([name, value]) => [name, integer(value)])) };
}

export const isPrime = (value) => checkPrimeSync(value, { checks: ROUNDS });
/** A prime with its two highest bits set (so that a product of two has its full length), and p - 1 coprime to e. */
export function prime(bits, e = 65537n) {
	for (;;) {
		const p = generatePrimeSync(bits, { bigint: true });
		if ((p - 1n) % e !== 0n && p >> BigInt(bits - 2) === 3n)
			return p;
	}
}

/** The next prime above. */
export function primeAfter(value) {
	const small = smallPrimes(3, 2000);
	for (let p = value + 2n; ; p += 2n)
		if (small.every((s) => p % s !== 0n) && isPrime(p))
			return p;
}

function smallPrimes(from, to) {
	return Array.from({ length: to - from + 1 }, (_, i) => BigInt(from + i)).filter((n) => isPrime(n));
}

function power(base, exponent, modulus) {
	let result = 1n;
	for (let b = base % modulus, e = exponent; e > 0n; e >>= 1n, b = (b * b) % modulus)
		if (e & 1n)
			result = (result * b) % modulus;
	return result;
}

/** A prime of the form k M + (65537^a mod M), as a well-known library of smart cards made them (CVE-2017-15361). */
export function rocaPrime(bits) {
	const m = smallPrimes(2, 167).reduce((product, p) => product * p, 1n);
	const top = 3n << BigInt(bits - 2);
	for (;;) {
		const tail = power(65537n, number(randomBytes(16)), m);
		const k = (top + (number(randomBytes(bits / 8)) >> 3n)) / m;
		const p = k * m + tail;
		if (p >> BigInt(bits - 2) === 3n && (p - 1n) % 65537n !== 0n && isPrime(p))
			return p;
	}
}
