// The parts of OpenAPI 3.1 and JSON Schema that the daemon's own description uses: finding operations, checking and making values.
import assert from "node:assert/strict";

const METHODS = ["get", "put", "post", "patch", "delete"];

export class Description {
	constructor(document) {
		this.document = document;
	}

	/** What a $ref points to. */
	resolve(node) {
		if (node?.$ref === undefined)
			return node;
		return this.resolve(node.$ref.split("/").slice(1).reduce((at, name) => at[name.replaceAll("~1", "/").replaceAll("~0", "~")],
			this.document));
	}

	/** @return {Array<{id, method, path, isVault, isPublic, needsRole, body, bodyType, responses, parameters}>} */
	operations() {
		return Object.entries(this.document.paths).flatMap(([path, item]) => METHODS.filter((method) => item[method]).map((method) => {
			const op = item[method];
			const server = (op.servers ?? item.servers ?? this.document.servers)[0];
			const [bodyType] = Object.keys(op.requestBody?.content ?? {});
			return {
				id: op.operationId, method: method.toUpperCase(), path, isVault: server.url.includes("{vault}"), isPublic: op.security?.length === 0,
				needsRole: op["x-permission"] !== undefined,
				body: bodyType && this.resolve(op.requestBody.content[bodyType].schema), bodyType, responses: op.responses,
				parameters: (op.parameters ?? []).map((parameter) => this.resolve(parameter)),
			};
		}));
	}

	/** The description of an answer, or undefined when there is none for its status. */
	response(operation, status) {
		return this.resolve(operation.responses[status] ?? operation.responses.default);
	}

	/** A body is what its schema says. */
	assertMatches(schema, value, where = "body") {
		const s = this.resolve(schema);
		const types = [s.type ?? []].flat();
		const type = value === null ? "null" : Array.isArray(value) ? "array" : Number.isInteger(value) ? "integer" : typeof value;
		if (types.length > 0)
			assert.ok(types.includes(type) || (type === "integer" && types.includes("number")), `${where} is ${type}, not ${types.join(" or ")}`);
		if (s.enum)
			assert.ok(s.enum.includes(value), `${where} is ${JSON.stringify(value)}, none of ${s.enum.join(", ")}`);
		if (type === "string") {
			assert.ok(value.length >= (s.minLength ?? 0) && value.length <= (s.maxLength ?? Infinity), `${where} has ${value.length} characters`);
			if (s.pattern)
				assert.match(value, new RegExp(s.pattern, "u"), where);
		}
		if (type === "integer")
			assert.ok(value >= (s.minimum ?? -Infinity) && value <= (s.maximum ?? Infinity), `${where} is ${value}`);
		if (type === "array" && s.items)
			value.forEach((item, i) => this.assertMatches(s.items, item, `${where}[${i}]`));
		if (type !== "object")
			return;
		for (const name of s.required ?? [])
			assert.ok(name in value, `${where} lacks ${name}`);
		for (const [name, member] of Object.entries(value)) {
			if (s.properties?.[name])
				this.assertMatches(s.properties[name], member, `${where}.${name}`);
			else
				assert.ok(s.additionalProperties !== false, `${where} has ${name}, which is not described`);
		}
	}

	/** A value that a schema allows; `hint(name, schema)` may know a better one. */
	make(schema, chance, hint = () => undefined, name = "") {
		const s = this.resolve(schema);
		const known = hint(name, s);
		if (known !== undefined)
			return known;
		if (s.enum)
			return chance.pick(s.enum);
		switch ([s.type].flat()[0]) {
		case "string": return chance.text(Math.min((s.minLength ?? 0) + chance.below(40), s.maxLength ?? Infinity));
		case "integer": return chance.pick([s.minimum ?? 0, Math.min(s.maximum ?? 1000, 1000), (s.minimum ?? 0) + chance.below(100)]);
		case "boolean": return chance.is(0.5);
		case "array": return Array.from({ length: Math.max(s.minItems ?? 0, chance.below(3)) }, () => this.make(s.items, chance, hint, name));
		case "object": return Object.fromEntries(Object.entries(s.properties ?? {})
			.filter(([member]) => (s.required ?? []).includes(member) || chance.is(0.4))
			.map(([member, inner]) => [member, this.make(inner, chance, hint, member)]));
		default: return null;
		}
	}
}
