import { clone } from "@bufbuild/protobuf";
import { type QueryClient, useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { gallery } from "@/api/clients";
import { type Image, ImageSchema } from "@/gen/pingvas/gallery/v1/image_pb";
import { refetchBoards } from "./boards";
import { changeListed, outdateLists, refetchLists } from "./images";
import { inBatches } from "./inBatches";
import { inOrder } from "./inOrder";

/** What can be done to many pictures at once, shown at once, and taken back where a call fails. */
export function useOrganizing() {
  const queries = useQueryClient();
  const [undoable, setUndoable] = useState<string[]>([]);
  const onError = () => refetchLists(queries);

  const starring = useMutation({
    mutationFn: ({ ids, starred }: { ids: string[]; starred: boolean }) =>
      inOrder(() => inBatches(ids, (imageIds) => gallery.batchStarImages({ imageIds, unstar: !starred }))),
    onMutate: ({ ids, starred }) => change(queries, ids, { starred }),
    onError,
    onSettled: () => outdateLists(queries),
  });
  const deleting = useMutation({
    mutationFn: ({ ids, permanently = false }: { ids: string[]; permanently?: boolean }) =>
      inOrder(() => inBatches(ids, (imageIds) => gallery.batchDeleteImages({ imageIds, permanently }))),
    onMutate: ({ ids, permanently }) => {
      changeListed(queries, ids, () => undefined);
      setUndoable(permanently ? [] : ids);
    },
    onError,
    onSettled: () => Promise.all([outdateLists(queries), refetchBoards(queries)]),
  });
  const restoring = useMutation({
    mutationFn: (ids: string[]) =>
      inOrder(() => inBatches(ids, (imageIds) => gallery.batchRestoreImages({ imageIds }))),
    onMutate: (ids) => {
      changeListed(queries, ids, () => undefined);
      setUndoable([]);
    },
    onSettled: () => Promise.all([refetchLists(queries), refetchBoards(queries)]),
  });
  return {
    star: (ids: string[], starred: boolean) => starring.mutate({ ids, starred }),
    remove: (ids: string[]) => deleting.mutate({ ids }),
    removeForGood: (ids: string[]) => deleting.mutate({ ids, permanently: true }),
    restore: (ids: string[]) => restoring.mutate(ids),
    /** What was deleted last and can be taken back by one click. */
    undoable,
    forgetUndo: () => setUndoable([]),
    error: starring.error ?? deleting.error ?? restoring.error,
  };
}

/** Rates one picture; shown at once. */
export function useRating() {
  const queries = useQueryClient();
  return useMutation({
    mutationFn: ({ imageId, rating }: { imageId: string; rating: number }) =>
      inOrder(() => gallery.updateImage({ imageId, rating })),
    onMutate: ({ imageId, rating }) => change(queries, [imageId], { rating }),
    onError: () => refetchLists(queries),
    onSettled: () => outdateLists(queries),
  });
}

function change(
  queries: QueryClient,
  ids: string[],
  values: Partial<Pick<Image, "starred" | "rating">>,
): void {
  changeListed(queries, ids, (image) => Object.assign(clone(ImageSchema, image), values));
}
