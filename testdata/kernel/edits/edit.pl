# Edits a generated module as a person would: an include, a comment, a changed body, a renamed function of its own, and a helper
# whose calls are written out. perl edit.pl MODULE TARGET [HELPER REPLACEMENT], the replacement with $1 for the call's argument.
use strict;
my ($module, $target, $helper, $replacement) = @ARGV;
my $path = "livepatch-$module/livepatch-$module.c";
open(my $in, '<', $path) or die "$path: $!";
local $/;
my $text = <$in>;
sub edit {
	my ($what, $count) = @_;
	die "$path: no place for: $what\n" unless $count;
	print "$what\n";
}
edit('an include', $text =~ s{(#include <linux/livepatch\.h>\n)}{$1#include <linux/ratelimit.h>\n});
edit('a comment', $text =~ s{(^[^\n;]*\bklpp_$target\([^;\{]*\)\n\{\n)}{$1\t/* ours: looked at */\n}m);
edit('a body', $text =~ s{(^[^\n;]*\bklpp_$target\([^;\{]*\)\n\{\n.*?)(\treturn [^\n]*;\n)?^(\})}{$1\tbarrier();\n$2$3}ms);
edit('a name', $text =~ s{\blivepatch_init\b}{ours_init}g);
if ($helper) {
	edit('a helper', $text =~ s{(/\* from [^\n]*\n)?^static [^\n;]*\b$helper\([^;\{]*\)\n\{\n.*?^\}\n\n?}{}ms);
	edit('its calls', $text =~ s{\b$helper\(([^()]*)\)}{my $with = $replacement; my $argument = $1; $with =~ s/\$1/$argument/g; $with}ge);
}
open(my $out, '>', $path) or die "$path: $!";
print $out $text;
