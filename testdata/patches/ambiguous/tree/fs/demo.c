a
b
x
y
a
b
