import { create } from "@bufbuild/protobuf";
import { type InfiniteData, type QueryClient, useInfiniteQuery } from "@tanstack/react-query";
import { gallery } from "@/api/clients";
import {
  type ListImagesResponse,
  ListImagesResponseSchema,
} from "@/gen/pingvas/gallery/v1/gallery_service_pb";
import type { Image } from "@/gen/pingvas/gallery/v1/image_pb";
import { behindChanges } from "./inOrder";

const PAGE = 100;
/** Addresses of pictures are good for minutes; a list is fetched anew before they end. */
const FRESH_MS = 120_000;
const IMAGES = "images";

/** Stands in the address for the pictures that are on no board. */
export const ON_NO_BOARD = "none";

/** Which pictures are shown; a part of the page's address. */
export interface ImageFilter {
  q?: string;
  starred?: boolean;
  rating?: number;
  bin?: boolean;
  /** The id of a board, or ON_NO_BOARD. */
  board?: string;
}

/** What a filter asks of the platform. */
export function searchOf({ q = "", starred = false, rating = 0, bin = false, board = "" }: ImageFilter) {
  return {
    query: q,
    starredOnly: starred,
    minRating: rating,
    inBin: bin,
    boardId: board === ON_NO_BOARD ? "" : board,
    uncategorised: board === ON_NO_BOARD,
  };
}

/** The pictures that a filter leaves, newest first, a page at a time. */
export function useImages(filter: ImageFilter = {}) {
  const search = searchOf(filter);
  return useInfiniteQuery({
    queryKey: [IMAGES, search],
    queryFn: ({ pageParam }) =>
      behindChanges(() => gallery.listImages({ pageSize: PAGE, pageToken: pageParam, ...search })),
    initialPageParam: "",
    getNextPageParam: (page) => page.nextPageToken || undefined,
    staleTime: FRESH_MS,
    select: ({ pages }) => pages.flatMap((page) => page.images),
  });
}

/** Shows what was done to pictures in every list that is there, without fetching it: `undefined` takes one out. */
export function changeListed(
  queries: QueryClient,
  imageIds: Iterable<string>,
  change: (image: Image) => Image | undefined,
): void {
  const changed = new Set(imageIds);
  queries.setQueriesData<InfiniteData<ListImagesResponse>>({ queryKey: [IMAGES] }, (lists) => {
    if (!lists) return lists;
    const pages = lists.pages.map((page) =>
      create(ListImagesResponseSchema, {
        nextPageToken: page.nextPageToken,
        images: page.images.flatMap((image) => {
          const now = changed.has(image.imageId) ? change(image) : image;
          return now ? [now] : [];
        }),
      }),
    );
    return { ...lists, pages };
  });
}

/** Lets lists be fetched anew when they are shown next; the one on the page stays as the person sees it. */
export function outdateLists(queries: QueryClient): Promise<void> {
  return queries.invalidateQueries({ queryKey: [IMAGES], refetchType: "none" });
}

/** Lets every list be fetched anew, for what came in or may stand elsewhere now. */
export function refetchLists(queries: QueryClient): Promise<void> {
  return queries.invalidateQueries({ queryKey: [IMAGES] });
}
