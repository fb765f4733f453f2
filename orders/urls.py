from rest_framework.routers import SimpleRouter

from orders.views import OrderViewSet, ProductViewSet

router = SimpleRouter()
router.register("orders", OrderViewSet, basename="order")
router.register("products", ProductViewSet, basename="product")

urlpatterns = router.urls
