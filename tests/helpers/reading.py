"""Which fields of which dataclass the package's code reads.

Names alone would not tell: something is called `size` or `name` everywhere. So types
are followed: from annotations through names, attributes and calls to the functions that
have no annotations of their own.
"""

import ast
import pathlib

import mtujax

PACKAGE = pathlib.Path(mtujax.__file__).parent
_TELLING = "__post_init__"  # a class looks at its own fields there, to refuse them


def fields_read(sources: dict[str, str]) -> set[tuple[str, str]]:
    """(class, attribute) of all that is read.

    Args:
        sources: text of each module by its dotted name.
    """
    trees = {name: ast.parse(text) for name, text in sources.items()}
    program = _Program(trees)
    while True:
        known = len(program.given), len(program.attributes), len(program.read)
        for name, tree in trees.items():
            _Reader(program, name).visit(tree)
        if known == (len(program.given), len(program.attributes), len(program.read)):
            return program.read


def package_sources() -> dict[str, str]:
    return {
        ".".join(("mtujax", *path.relative_to(PACKAGE).with_suffix("").parts)): (
            path.read_text()
        )
        for path in PACKAGE.rglob("*.py")
    }


class _Program:
    """What is known of all modules."""

    def __init__(self, trees):
        self.read, self.given = set(), {}
        self.classes, self.functions = {}, {}
        for name, tree in trees.items():
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    self.classes[node.name] = node
                if isinstance(node, ast.FunctionDef):
                    self.functions[name, node.name] = node
        self.attributes = {}
        for name, node in self.classes.items():
            for entry in node.body:
                match entry:
                    case ast.AnnAssign(target=ast.Name(id=found), annotation=told):
                        self.attributes[name, found] = self.kind(told)
                    case ast.FunctionDef(name=found, returns=told):
                        self.attributes[name, found] = self.kind(told)

    def kind(self, annotation):
        """The class that an annotation names, alone or beside None."""
        for node in ast.walk(annotation) if annotation else ():
            if isinstance(node, ast.Subscript):
                return None
            name = node.id if isinstance(node, ast.Name) else None
            name = node.value if isinstance(node, ast.Constant) else name
            if isinstance(name, str) and name in self.classes:
                return name
        return None


class _Reader(ast.NodeVisitor):
    """Walks one module, with the types of the names in each scope."""

    def __init__(self, program, module):
        self.program, self.module = program, module
        self.scopes, self.owner, self.imported = [{}], None, {}
        self.function = None

    def visit_ImportFrom(self, node):
        for alias in node.names:
            self.imported[alias.asname or alias.name] = (node.module, alias.name)

    def visit_ClassDef(self, node):
        outer, self.owner = self.owner, node.name
        self.generic_visit(node)
        self.owner = outer

    def visit_FunctionDef(self, node):
        if self.owner and node.name == _TELLING:
            return
        given = self.program.given
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        scope = {}
        for place, argument in enumerate(arguments):
            kind = self.program.kind(argument.annotation)
            kind = kind or given.get((self.module, node.name, argument.arg))
            if self.owner and place == 0 and argument.arg == "self":
                kind = self.owner
            scope[argument.arg] = kind
        outer = self.owner, self.function
        self.owner, self.function = None, node
        self.scopes.append(scope)
        for child in node.body:
            self.visit(child)
        self.scopes.pop()
        self.owner, self.function = outer

    def visit_Assign(self, node):
        for target in node.targets:
            self._assign(target, node.value)
        self.generic_visit(node)

    def _assign(self, target, value):
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for one, other in zip(target.elts, value.elts, strict=False):
                self._assign(one, other)
        elif isinstance(target, ast.Name):
            self.scopes[-1][target.id] = self._kind(value)
        elif isinstance(target, ast.Attribute):
            owner, kind = self._kind(target.value), self._kind(value)
            if owner and kind:
                self.program.attributes[owner, target.attr] = kind

    def visit_Attribute(self, node):
        owner = self._kind(node.value)
        if owner and isinstance(node.ctx, ast.Load):
            self.program.read.add((owner, node.attr))
        self.generic_visit(node)

    def visit_Call(self, node):
        function, arguments = node.func, node.args
        if getattr(function, "attr", None) == "partial" and arguments:
            function, *arguments = arguments
        if getattr(function, "id", None) == "getattr":
            self._read_by_name(arguments[0])
        module, called, skipped = self._called(function)
        if isinstance(called, ast.FunctionDef):
            names = [a.arg for a in (*called.args.posonlyargs, *called.args.args)]
            passed = [*zip(names[skipped:], arguments, strict=False)]
            passed += [(keyword.arg, keyword.value) for keyword in node.keywords]
            for argument, value in passed:
                if kind := self._kind(value):
                    self.program.given[module, called.name, argument] = kind
        self.generic_visit(node)

    def _read_by_name(self, value):
        """`getattr`: the names are among the strings of the function."""
        if (kind := self._kind(value)) and self.function:
            for node in ast.walk(self.function):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    self.program.read.add((kind, node.value))

    def _called(self, function):
        """Where what is called is defined, it, and how many arguments it has before."""
        match function:
            case ast.Name(id=name):
                place = self.imported.get(name, (self.module, name))
                return place[0], self.program.functions.get(place), 0
            case ast.Attribute(value=value, attr=name):
                owner = self.program.classes.get(self._kind(value))
                for entry in owner.body if owner else ():
                    if getattr(entry, "name", None) == name:
                        return self.module, entry, 1
        return self.module, None, 0

    def _kind(self, node):
        """The class of an expression's value, if it is one of the package's."""
        match node:
            case ast.Name(id=name):
                found = (s[name] for s in reversed(self.scopes) if name in s)
                return next(found, None)
            case ast.Attribute(value=value, attr=name):
                return self.program.attributes.get((self._kind(value), name))
            case ast.NamedExpr(value=value):
                return self._kind(value)
            case ast.IfExp(body=one, orelse=other):
                return self._kind(one) or self._kind(other)
            case ast.BoolOp(values=values):
                return next(filter(None, map(self._kind, values)), None)
            case ast.Call(func=ast.Attribute(attr="replace"), args=[value, *_]):
                return self._kind(value)
            case ast.Call(func=ast.Attribute() as function):
                return self._kind(function)
            case ast.Call(func=ast.Name(id=name)):
                module, name = self.imported.get(name, (self.module, name))
                if name in self.program.classes:
                    return name
                called = self.program.functions.get((module, name))
                return self.program.kind(called.returns) if called else None
        return None


def unread(kind: type, read: set[tuple[str, str]]) -> list[str]:
    """Fields of a dataclass that are not among what is read."""
    return [
        name for name in kind.__dataclass_fields__ if (kind.__name__, name) not in read
    ]
