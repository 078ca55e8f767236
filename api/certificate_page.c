/* api/certificate_page.c - plain words around a signed text. The page proves nothing by itself, and says so: the text at its end does. */
#include "api/certificate_page.h"

#include <string.h>

#define NOT_SIGNED " <sup>*</sup>" /* behind what does not stand in the signed text */
#define KEYS_SHOWN 200 /* all of them stand in the signed text */

static const char STYLE[] =
	"body{font:16px/1.5 Georgia,'Times New Roman',serif;color:#111;background:#fff;max-width:46em;margin:2em auto;padding:0 1em}"
	"h1{font-size:1.6em;line-height:1.2}h2{font-size:1.15em;margin-top:2em;border-bottom:1px solid #999}"
	"table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.25em .8em .25em 0;border-bottom:1px solid #ddd;overflow-wrap:anywhere}"
	"th{font-weight:normal;color:#444}thead th{font-weight:bold}.facts th{width:13em}"
	"code,pre{font:12px/1.4 'DejaVu Sans Mono',Consolas,monospace;overflow-wrap:anywhere;white-space:pre-wrap}"
	"pre{border:1px solid #999;padding:.8em}.state{border:2px solid #111;padding:.6em .9em}"
	"@media print{body{margin:0;max-width:none;font-size:11pt}h2{break-after:avoid}tr{break-inside:avoid}pre{border:0;padding:0;font-size:8pt}}";

/* Everything that is not written by us goes through here. */
static void put(FILE *out, const char *text)
{
	for (; *text != '\0'; text++) {
		switch (*text) {
		case '&': (void)fputs("&amp;", out); break;
		case '<': (void)fputs("&lt;", out); break;
		case '>': (void)fputs("&gt;", out); break;
		case '"': (void)fputs("&quot;", out); break;
		case '\'': (void)fputs("&#39;", out); break;
		default: (void)fputc(*text, out);
		}
	}
}

static const char *text_of(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));
	return text != NULL ? text : "";
}

static long long number_of(const json_t *object, const char *name) { return (long long)json_integer_value(json_object_get(object, name)); }

static bool is(const json_t *object, const char *name, const char *value) { return strcmp(text_of(object, name), value) == 0; }

/* Certificates have one form of time; people are told seconds. */
static void put_time(FILE *out, const char *time)
{
	const char *clock = strchr(time, 'T');
	char shown[64];

	if (clock != NULL)
		(void)snprintf(shown, sizeof(shown), "%.10s, %.8s UTC", time, clock + 1);
	put(out, clock != NULL ? shown : time);
}

static void fact(FILE *out, const char *name, const char *value)
{
	if (value[0] == '\0')
		return;
	(void)fprintf(out, "<tr><th scope=\"row\">%s</th><td>", name);
	put(out, value);
	(void)fputs("</td></tr>\n", out);
}

static void fact_time(FILE *out, const char *name, const char *time)
{
	if (time[0] == '\0')
		return;
	(void)fprintf(out, "<tr><th scope=\"row\">%s</th><td>", name);
	put_time(out, time);
	(void)fputs("</td></tr>\n", out);
}

/* ---- what ---- */

static bool is_root_only(const json_t *body)
{
	const json_t *first = json_array_get(json_object_get(body, "keys"), 0);
	return is(body, "scope", "key") && first != NULL && is(first, "kind", "root");
}

/* Resident versions are those whose type ends in -HSM. */
static bool is_resident(const json_t *key)
{
	const char *kind = text_of(key, "kind");
	size_t len = strlen(kind);

	return len > 4 && strcmp(kind + len - 4, "-HSM") == 0;
}

static bool is_first_of(const json_t *key) { return is(key, "kind", "root") || is(key, "kind", "pseudonyms"); }

static void put_count(FILE *out, const char **separator, size_t count, const char *one, const char *many)
{
	if (count == 0)
		return;
	(void)fprintf(out, "%s%zu %s", *separator, count, count == 1 ? one : many);
	*separator = ", ";
}

static void write_counts(const struct certificate_page *p, FILE *out)
{
	size_t roots = 0, pseudonyms = 0, residents = 0, i = 0;
	const json_t *keys = json_object_get(p->body, "keys"), *key = NULL;
	const char *separator = " This certificate names ";

	json_array_foreach(keys, i, key) {
		roots += is(key, "kind", "root");
		pseudonyms += is(key, "kind", "pseudonyms");
		residents += is_resident(key);
	}
	put_count(out, &separator, roots, "root key", "root keys");
	put_count(out, &separator, pseudonyms, "key of pseudonyms", "keys of pseudonyms");
	put_count(out, &separator, residents, "key version in the HSM", "key versions in the HSM");
	put_count(out, &separator, json_array_size(keys) - roots - pseudonyms - residents, "wrapped key version", "wrapped key versions");
	(void)fputs(json_array_size(keys) > 0 ? ".</p>\n" : "</p>\n", out);
}

/* Whoever has one of the copies that nobody here can see can still read. */
static void write_what_is_lost(const struct certificate_page *p, const char *them, FILE *out)
{
	bool has_others = json_is_array(json_object_get(p->body, "residual"));

	if (p->is_revived) {
		(void)fputs(" It has been restored from a backup since: what was encrypted under it can be read.", out);
		return;
	}
	(void)fprintf(out, " Whatever was encrypted under %s, and under %s alone, cannot be read any more%s%s.", them, them,
	              is(p->body, "state", "complete") ? "" : " once the backups below have ended",
	              has_others ? ", unless somebody kept a copy of a kind that this certificate does not cover (below, under Copies)" : "");
}

static void write_what(const struct certificate_page *p, FILE *out)
{
	(void)fputs("<p>", out);
	if (is(p->body, "scope", "tenant")) {
		(void)fputs("All keys of the vault ", out);
		put(out, p->vault[0] != '\0' ? p->vault : text_of(p->body, "tenant"));
		(void)fputs(" were destroyed: its root key, under which its keys are kept, the key of its pseudonyms, and each key of its own.", out);
		write_what_is_lost(p, "them", out);
	} else if (is_root_only(p->body)) {
		(void)fputs("A root key of the vault ", out);
		put(out, p->vault[0] != '\0' ? p->vault : text_of(p->body, "tenant"));
		(void)fputs(" was destroyed after another one had taken its place. The vault's keys live on under the new one: they were wrapped anew under it before, and nothing died "
		            "with the old one but copies that were wrapped under that.", out);
	} else {
		(void)fputs("The key ", out);
		put(out, p->key);
		(void)fputs(" of the vault ", out);
		put(out, p->vault[0] != '\0' ? p->vault : text_of(p->body, "tenant"));
		(void)fputs(" was destroyed in all its versions.", out);
		write_what_is_lost(p, "it", out);
	}
	write_counts(p, out);
}

static bool has_living_copies(const json_t *body)
{
	const json_t *copy = NULL;
	size_t i = 0;

	json_array_foreach(json_object_get(body, "copies"), i, copy) {
		if (is(copy, "disposition", "unreadable"))
			return true;
	}
	return false;
}

static void write_state(const struct certificate_page *p, FILE *out)
{
	(void)fputs("<p class=\"state\"><strong>", out);
	if (is(p->body, "state", "complete") && has_living_copies(p->body)) {
		(void)fputs("Complete.</strong> No backup that this server made can bring back what was destroyed: those that are named below have it "
		            "only under the root key that is destroyed.", out);
	} else if (is(p->body, "state", "complete")) {
		(void)fputs("Complete.</strong> No backup that this server made, and that could bring back what was destroyed, is left.", out);
	} else if (p->is_revived) {
		(void)fputs("Pending, and the key is back.</strong> It was restored from a backup", out);
		if (p->revived[0] != '\0') {
			(void)fputs(" at ", out);
			put_time(out, p->revived);
		}
		(void)fputs(", and lives on this server" NOT_SIGNED ". A complete certificate with the same number takes this one's place when the key has "
		            "been destroyed again and the last backup that holds it has ended.", out);
	} else {
		(void)fputs("Pending.</strong> Here the key is gone. Backups that this server made earlier still hold it, sealed under a backup key in the HSM. That key will be "
		            "destroyed, and with it those backups, by ", out);
		put_time(out, text_of(p->body, "until"));
		(void)fputs("; then a complete certificate with the same number takes this one's place.", out);
	}
	(void)fputs("</p>\n", out);
}

static const char *basis_words(const json_t *body)
{
	if (is(body, "basis", "gdpr-art17"))
		return "erasure of personal data (Art. 17 GDPR)";
	if (is(body, "basis", "contract-end"))
		return "end of the contract";
	if (is(body, "basis", "compromise"))
		return "suspected or known compromise";
	return is(body, "basis", "retention") ? "end of the retention period" : "other than those that have a name";
}

static const char *method_words(const json_t *body)
{
	if (is_root_only(body))
		return "the replaced root key was destroyed inside the HSM; the vault's keys had been wrapped anew under the one that followed it";
	if (is(body, "method", "kek-destroy"))
		return "the root key was destroyed inside the HSM; every key that was wrapped under it died with it";
	if (is(body, "method", "blob-erase"))
		return "the key, which was kept wrapped under the vault's root key, was erased from the database, and the database's write-ahead log was cut off";
	return "the key's objects were destroyed inside the HSM";
}

static void write_facts(const struct certificate_page *p, FILE *out)
{
	const json_t *times = json_object_get(p->body, "times"), *hsm = json_object_get(p->body, "hsm");
	char device[256];

	(void)snprintf(device, sizeof(device), "%.64s %.64s, serial %.64s, firmware %.32s", text_of(hsm, "vendor"), text_of(hsm, "model"), text_of(hsm, "serial"),
	               text_of(hsm, "fw"));
	(void)fputs("<table class=\"facts\">\n", out);
	fact(out, "Certificate", text_of(p->body, "id"));
	fact(out, "Vault" NOT_SIGNED, p->vault);
	fact(out, "Vault&#39;s number", text_of(p->body, "tenant"));
	fact(out, "Key", p->key);
	fact(out, "Basis", basis_words(p->body));
	fact(out, "Reason given" NOT_SIGNED, p->reason);
	fact_time(out, "Approved", text_of(times, "approved"));
	fact_time(out, "Destroyed", text_of(times, "destroyed"));
	fact_time(out, "Checked", text_of(times, "verified"));
	fact(out, "How", method_words(p->body));
	fact(out, "HSM", device);
	(void)fputs("</table>\n<p>" NOT_SIGNED " does not stand in the signed text: this server says so, from its event log and its directory, at the "
	            "time when this page was made.</p>\n", out);
}

/* ---- who ---- */

/* The signed text tells whether and when; the log, whose intent that text names, who. */
static void write_no_approvers(const struct certificate_page *p, FILE *out)
{
	bool is_approved = text_of(json_object_get(p->body, "times"), "approved")[0] != '\0';

	if (!is_approved && (p->has_log || !is_root_only(p->body))) {
		(void)fputs("<p>This act took no approval.</p>\n", out);
		return;
	}
	(void)fputs(is_approved ? "<p>It was approved, as the signed text says with the time. By whom" : "<p>Who approved the rotation", out);
	(void)fputs(" stands in the event log ", out);
	put(out, text_of(p->body, "origin"));
	(void)fprintf(out, ", in the event %lld, which this server does not keep any more: it is closed, and another log was begun since.</p>\n",
	              number_of(json_object_get(p->body, "intent"), "seq"));
}

static void write_approvers(const struct certificate_page *p, FILE *out)
{
	const json_t *a = NULL;
	size_t i = 0;

	(void)fputs("<h2>Who approved" NOT_SIGNED "</h2>\n", out);
	if (json_array_size(p->approvers) == 0) {
		write_no_approvers(p, out);
		return;
	}
	if (is_root_only(p->body))
		(void)fputs("<p>They approved the rotation, of which the end of the old root key is the last step.</p>\n", out);
	(void)fputs("<table><thead><tr><th>Approver</th><th>When</th></tr></thead>\n", out);
	json_array_foreach(p->approvers, i, a) {
		(void)fputs("<tr><td>", out);
		put(out, text_of(a, "name")[0] != '\0' ? text_of(a, "name") : "(not known here any more)");
		(void)fputs(" <code>", out);
		put(out, text_of(a, "pid"));
		(void)fputs("</code></td><td>", out);
		put_time(out, text_of(a, "at"));
		(void)fputs("</td></tr>\n", out);
	}
	(void)fputs("</table>\n<p>Nobody approves a request of his own. An approver who holds a signing key may have signed this certificate too: then a line below has the "
	            "approver&#39;s code in its name.</p>\n", out);
}

/* ---- how it was checked ---- */

static void write_check(const json_t *check, FILE *out)
{
	if (is(check, "id", "in-flight-drained"))
		(void)fputs("<li>Everything that used the keys had ended before they were destroyed; from the first moment no new use was let in.</li>\n", out);
	else if (is(check, "id", "fresh-look"))
		(void)fprintf(out, "<li>Another process logged into the HSM anew and looked for %lld object%s in it: it found none of them, and by the same search it found a key that "
		              "must be there, so the HSM was really there.</li>\n", number_of(check, "objects"), number_of(check, "objects") == 1 ? "" : "s");
	else if (is(check, "id", "canary"))
		(void)fputs("<li>A test value that had been encrypted under the root key when the vault was made could not be decrypted any more.</li>\n", out);
	else if (is(check, "id", "refused"))
		(void)fputs("<li>A use of what was destroyed was tried the way every request goes, and was refused.</li>\n", out);
	else if (is(check, "id", "write-ahead-log-truncated"))
		(void)fputs("<li>The wrapped key was overwritten in the database, and the database&#39;s write-ahead log, where it still stood, was cut off.</li>\n", out);
	else {
		(void)fputs("<li>", out);
		put(out, text_of(check, "id"));
		(void)fputs("</li>\n", out);
	}
}

static void write_checks(const struct certificate_page *p, FILE *out)
{
	const json_t *check = NULL;
	size_t i = 0;

	(void)fputs("<h2>How it was checked</h2>\n<ul>\n", out);
	json_array_foreach(json_object_get(p->body, "checks"), i, check) {
		write_check(check, out);
	}
	(void)fputs("</ul>\n", out);
}

/* ---- copies ---- */

static const char *disposition_words(const json_t *copy)
{
	if (is(copy, "disposition", "unreadable"))
		return is(copy, "kind", "server-backup") ? "of this vault it holds keys only under the root key that is destroyed, and these cannot be read"
		                                         : "unreadable: it holds the key only under the root key that is destroyed";
	if (is(copy, "disposition", "expires-with-epoch"))
		return "still holds the key, until its backup key is destroyed";
	return is(copy, "disposition", "destroyed") ? "ended: its backup key is destroyed" : text_of(copy, "disposition");
}

static void write_copy(const json_t *copy, FILE *out)
{
	if (is(copy, "kind", "others"))
		(void)fprintf(out, "<tr><td>%lld others <code>", number_of(copy, "count"));
	else
		(void)fprintf(out, "<tr><td>%s <code>", is(copy, "kind", "server-backup") ? "of the whole server" : "of a key");
	put(out, text_of(copy, "id"));
	(void)fputs("</code></td><td>", out);
	put_time(out, text_of(copy, "made"));
	(void)fputs("</td><td>", out);
	put_time(out, text_of(copy, "until"));
	(void)fputs("</td><td>", out);
	put(out, disposition_words(copy));
	(void)fputs("</td></tr>\n", out);
}

static void write_residual(const struct certificate_page *p, FILE *out)
{
	const json_t *residual = json_object_get(p->body, "residual"), *item = NULL;
	size_t i = 0;

	if (!json_is_array(residual)) {
		(void)fputs("<p>Other places where the keys could lie are not known.</p>\n", out);
		return;
	}
	(void)fputs("<p>Copies that somebody made without this server cannot be seen from here, and are not covered. They would be:</p>\n<ul>\n", out);
	json_array_foreach(residual, i, item) {
		const char *what = json_string_value(item) != NULL ? json_string_value(item) : "";
		(void)fputs("<li>", out);
		if (strcmp(what, "token-directory-copies") == 0)
			(void)fputs("copies of the directory in which this HSM, a software one, keeps its keys as files", out);
		else if (strcmp(what, "machine-snapshots") == 0)
			(void)fputs("snapshots of the machine or its disks", out);
		else if (strcmp(what, "older-database-copies") == 0)
			(void)fputs("copies of the database file from before the destruction, for as long as the vault&#39;s root key lives", out);
		else
			put(out, what);
		(void)fputs("</li>\n", out);
	}
	(void)fputs("</ul>\n", out);
}

static void write_copies(const struct certificate_page *p, FILE *out)
{
	const json_t *copies = json_object_get(p->body, "copies"), *copy = NULL;
	size_t i = 0;

	(void)fputs("<h2>Copies</h2>\n", out);
	if (json_array_size(copies) == 0) {
		(void)fputs("<p>There was no living backup of what was destroyed among those that this server made.</p>\n", out);
	} else {
		(void)fputs("<table><thead><tr><th>Backup</th><th>Made</th><th>Ends</th><th>What became of it</th></tr></thead>\n", out);
		json_array_foreach(copies, i, copy) {
			write_copy(copy, out);
		}
		(void)fputs("</table>\n", out);
	}
	write_residual(p, out);
}

/* ---- the objects, and the end ---- */

static void write_key(const json_t *key, FILE *out)
{
	(void)fputs("<tr><td>", out);
	put(out, text_of(key, "name")[0] != '\0' ? text_of(key, "name") : "-");
	(void)fputs("</td><td><code>", out);
	put(out, text_of(key, "ver"));
	(void)fputs("</code></td><td>", out);
	put(out, is(key, "kind", "root") ? "root key" : is(key, "kind", "pseudonyms") ? "key of pseudonyms" : text_of(key, "kind"));
	if (text_of(key, "crv")[0] != '\0') {
		(void)fputc(' ', out);
		put(out, text_of(key, "crv"));
	}
	if (number_of(key, "bits") > 0)
		(void)fprintf(out, ", %lld bits", number_of(key, "bits"));
	(void)fputs("</td><td><code>", out);
	put(out, text_of(key, "obj"));
	(void)fputs("</code></td></tr>\n", out);
}

static void write_keys(const struct certificate_page *p, FILE *out)
{
	const json_t *keys = json_object_get(p->body, "keys"), *key = NULL;
	size_t i = 0, shown = 0;

	(void)fputs("<h2>What was destroyed</h2>\n<p>The id is that of an object in the HSM, or, of a wrapped key version, the one that it had when it was in use there.</p>\n"
	            "<table><thead><tr><th>Key</th><th>Version</th><th>Kind</th><th>Id</th></tr></thead>\n", out);
	for (int first = 1; first >= 0; first--) {
		json_array_foreach(keys, i, key) {
			if (is_first_of(key) == (first != 0) && shown++ < KEYS_SHOWN)
				write_key(key, out);
		}
	}
	(void)fputs("</table>\n", out);
	if (json_array_size(keys) > KEYS_SHOWN)
		(void)fprintf(out, "<p>and %zu more: all of them stand in the signed text below.</p>\n", json_array_size(keys) - KEYS_SHOWN);
}

static const char NOT_CLAIMED[] =
	"<h2>What this does not claim</h2>\n<ul>\n"
	"<li>It says what was done with keys. It does not say that no copy of the data itself was ever made in clear, or under another key.</li>\n"
	"<li>It does not cover copies that were made without this server, named above.</li>\n"
	"<li>Times are those of the server&#39;s clock.</li>\n"
	"<li>It does not claim to be sufficient in law. What was done follows NIST SP 800-88 Rev. 2 (cryptographic erase), SP 800-57 Part 1 (destroyed state) and the "
	"accountability of Art. 5(2) GDPR; whether that is enough is for you to judge.</li>\n"
	"<li>This page is made for reading. What was signed is the text below, and nothing else.</li>\n</ul>\n";

static void write_signed(const struct certificate_page *p, FILE *out)
{
	(void)fputs("<h2>The signed text, and how to check it</h2>\n<p>The two lines that follow, up to the empty line, are signed by the attestation key in the HSM; each line behind it is a "
	            "signature. To check it, save the text as it is (or fetch it with <code>holdfast certificate show ", out);
	put(out, text_of(p->body, "id"));
	(void)fputs(" --output FILE</code>) and run, on any machine, without this server:</p>\n<pre>holdfast-verify certificate --key &#39;", out);
	put(out, p->vkey);
	(void)fputs("&#39; FILE</pre>\n<p>Take the key from somebody you trust, not from this page: it was published when the installation was made (<code>holdfast log keys</code>). "
	            "With an export of the log behind FILE the program also checks that the log bears it out. A signature by an approver is checked when the approver&#39;s key is "
	            "given with another <code>--key</code>.</p>\n<pre>", out);
	put(out, p->note);
	(void)fputs("</pre>\n", out);
}

void certificate_page_write(const struct certificate_page *p, FILE *out)
{
	(void)fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Certificate of destruction ", out);
	put(out, text_of(p->body, "id"));
	(void)fprintf(out, "</title><style>%s</style></head><body>\n<h1>Certificate of destruction</h1>\n", STYLE);
	write_what(p, out);
	write_state(p, out);
	write_facts(p, out);
	write_approvers(p, out);
	write_checks(p, out);
	write_copies(p, out);
	write_keys(p, out);
	(void)fputs(NOT_CLAIMED, out);
	write_signed(p, out);
	(void)fputs("</body></html>\n", out);
}
