import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import "./styles.css";
import { problemOf } from "./api/problem";
import { restoreSession, sessionState, subscribeToSession } from "./api/session";
import { router } from "./app/router";
import { startTheme } from "./app/theme";
import { startLanguage } from "./i18n";

const RETRIES = 3;

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 30_000,
      retry: (failures, error) => failures < RETRIES && problemOf(error).reason === "UNREACHABLE",
    },
  },
});

// Nothing of one person stays for the next.
subscribeToSession(() => {
  if (sessionState() === "signedOut") queries.clear();
});

startTheme();
startLanguage();
void restoreSession();

const root = document.getElementById("root");
if (!root) throw new Error("the page has no #root");
createRoot(root).render(
  <StrictMode>
    <QueryClientProvider client={queries}>
      <RouterProvider router={router} />
    </QueryClientProvider>
  </StrictMode>,
);
