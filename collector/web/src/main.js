// The page. Each view is a module of its own.
const title = document.createElement("h1");
title.textContent = "podspy";
document.body.append(title);
