/* server/cli/complete.c - completion for bash, made from the tables of commands and options: `. <(holdfast completion bash)`. */
#include <stdio.h>

#include "server/base/err.h"
#include "server/cli/command.h"

/* A pattern of `case` for all options of a kind; `next`: the word behind them is their value. */
static void print_options(enum value_kind kind)
{
	const char *between = "";

	for (size_t i = 0; i < CLI_OPTION_COUNT; i++)
		if (CLI_OPTIONS[i].kind == kind) {
			(void)printf("%s--%s", between, CLI_OPTIONS[i].name);
			between = "|";
		}
}

static void print_commands(void)
{
	(void)fputs("\tlocal commands=(", stdout);
	for (size_t i = 0; i < CLI_COMMAND_COUNT; i++)
		(void)printf("%s'%s'", i > 0 ? " " : "", CLI_COMMANDS[i].name);
	(void)fputs(")\n", stdout);
}

static void print_options_of_commands(void)
{
	for (size_t i = 0; i < CLI_COMMAND_COUNT; i++) {
		const struct command *c = &CLI_COMMANDS[i];
		(void)printf("\t'%s') options='", c->name);
		for (size_t k = 0; k < CLI_OPTION_COUNT; k++)
			if (((c->options | GLOBAL_OPTIONS) & BIT(CLI_OPTIONS[k].id)) != 0)
				(void)printf("--%s ", CLI_OPTIONS[k].name);
		(void)puts("' ;;");
	}
}

/* The text around what the tables say. Words are matched as typed: those of the command, then what it is about. */
enum cli_exit completion_bash(struct call *call)
{
	(void)call;
	(void)puts("# bash completion for holdfast; made by `holdfast completion bash`\n"
	           "_holdfast()\n{\n"
	           "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
	           "\tlocal command='' line='' options='' words='' about=0 skip='' i name\n"
	           "\tCOMPREPLY=()");
	print_commands();
	(void)fputs("\tfor ((i = 1; i < COMP_CWORD; i++)); do\n"
	            "\t\tif [[ -n $skip ]]; then skip=''; continue; fi\n"
	            "\t\tcase ${COMP_WORDS[i]} in\n\t\t-n|", stdout);
	print_options(VALUE_TEXT);
	(void)putchar('|');
	print_options(VALUE_FILE);
	(void)putchar('|');
	print_options(VALUE_REASON);
	(void)puts(") skip=1 ;;\n"
	           "\t\t-*) ;;\n"
	           "\t\t*)\tif [[ -n $command ]]; then about=$((about + 1)); continue; fi\n"
	           "\t\t\tline+=\"${line:+ }${COMP_WORDS[i]}\"\n"
	           "\t\t\tfor name in \"${commands[@]}\"; do [[ $name == \"$line\" ]] && command=$name; done ;;\n"
	           "\t\tesac\n"
	           "\tdone\n"
	           "\tcase $command in");
	print_options_of_commands();
	(void)fputs("\t*) options='--socket --url --token-file --ca --json --help --version' ;;\n"
	            "\tesac\n"
	            "\tif [[ -n $skip ]]; then\n"
	            "\t\tcase $prev in\n\t\t", stdout);
	print_options(VALUE_FILE);
	(void)fputs(")\n"
	            "\t\t\tif [[ $prev == --key && $command != 'ekm check' ]]; then return; fi\n"
	            "\t\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$cur\") ;;\n\t\t", stdout);
	print_options(VALUE_REASON);
	(void)puts(") if [[ $command == 'key revoke' ]]; then words='" CLI_REASONS "'; fi\n"
	           "\t\t\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\") ;;\n"
	           "\t\tesac\n"
	           "\t\treturn\n"
	           "\tfi\n"
	           "\tif [[ $cur == -* ]]; then\n"
	           "\t\twords=$options\n"
	           "\telif [[ -z $command ]]; then\n"
	           "\t\tfor name in \"${commands[@]}\"; do\n"
	           "\t\t\tif [[ -z $line ]]; then words+=\"${name%% *} \"\n"
	           "\t\t\telif [[ $name == \"$line \"* ]]; then name=${name#\"$line \"}; words+=\"${name%% *} \"; fi\n"
	           "\t\tdone\n"
	           "\telif [[ ( $command == 'role grant' || $command == 'role remove' ) && $about == 2 ]]; then\n"
	           "\t\twords='" CLI_ROLES "'\n"
	           "\telif [[ $command == 'credential add-certificate' && $about == 2 ]]; then\n"
	           "\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
	           "\t\treturn\n"
	           "\tfi\n"
	           "\tmapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\" | sort -u)\n"
	           "}\n"
	           "complete -o filenames -F _holdfast holdfast");
	return CLI_OK;
}
