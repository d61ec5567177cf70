import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { exports } from "@/api/exports";
import { ExportState, type ImageExport } from "@/gen/pingvas/gallery/v1/export_pb";
import { type ImageFilter, searchOf } from "./images";

const EXPORTS = "exports";
const LOOK_MS = 1500;
/** Before the addresses of finished zips end, which are good for five minutes. */
const RENEW_MS = 240_000;

/** What goes into a zip: pictures by their ids, or all that a list shows. */
export type Selection = { imageIds: string[] } | { filter: ImageFilter };

/** The person's exports; looked at often as long as one of them is being made. */
export function useExports() {
  return useQuery({
    queryKey: [EXPORTS],
    queryFn: async () => (await exports.listImageExports({ pageSize: 200 })).exports,
    refetchInterval: ({ state }) => (state.data?.some(isOpen) ? LOOK_MS : RENEW_MS),
  });
}

export function useExportCreation() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (wish: { selection: Selection; requestId: string }) =>
      exports.createImageExport({
        ...requested(wish.selection),
        requestId: wish.requestId,
        withRecipes: true,
      }),
    onSuccess: () => queries.invalidateQueries({ queryKey: [EXPORTS] }),
  });
}

export function useExportDeletion() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (exportId: string) => exports.deleteImageExport({ exportId }),
    onSuccess: () => queries.invalidateQueries({ queryKey: [EXPORTS] }),
  });
}

export function isOpen({ state }: ImageExport): boolean {
  return state === ExportState.QUEUED || state === ExportState.RUNNING;
}

function requested(selection: Selection) {
  if ("imageIds" in selection) {
    return { selection: { case: "images" as const, value: { imageIds: selection.imageIds } } };
  }
  return { selection: { case: "search" as const, value: searchOf(selection.filter) } };
}
